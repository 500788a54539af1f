import type { Model } from "../src/run/open-model.ts";
import type { Numbers } from "./agreement.ts";

/** Without the parts of fused matrices, which the checkpoint, and so PyTorch, does not know by name. */
export const storedOnly = ({ checkpoint }: Pick<Model, "checkpoint">, numbers: Numbers): Numbers => ({
  ...numbers,
  matrices: Object.fromEntries(Object.entries(numbers.matrices).filter(([name]) => checkpoint.tensors.has(name))),
});
