import { type FloatArray, sizeOf, type Tensor, zeros } from "../tensor/tensor.ts";

/** Values of a slab. What is left over at its end is never touched, and so takes no memory. */
const SLAB = 2 ** 26;

/**
 * Memory for what a forward pass keeps, used again by the next one. Arrays that are dropped would go back to the system, only to be
 * asked for and touched anew, and would pile up until the garbage collector comes.
 */
export class Arena {
  private readonly slabs: FloatArray[] = [];
  private slab = 0;
  private used = 0;

  constructor(private readonly precision: "float32" | "float64") {}

  /** Room for a tensor until {@link reset}, with what was there before. */
  room(shape: readonly number[]): Tensor<FloatArray> {
    return { shape, data: this.take(sizeOf(shape)) };
  }

  /** A copy that lasts until {@link reset}. */
  keep({ shape, data }: Tensor<FloatArray>): Tensor<FloatArray> {
    const kept = this.room(shape);
    kept.data.set(data);
    return kept;
  }

  /** Gives up everything kept. */
  reset(): void {
    this.slab = 0;
    this.used = 0;
  }

  private take(length: number): FloatArray {
    while (this.slab < this.slabs.length && this.used + length > this.slabs[this.slab]!.length) {
      this.slab++;
      this.used = 0;
    }
    if (this.slab === this.slabs.length) {
      this.slabs.push(zeros(this.precision, [Math.max(SLAB, length)]).data);
    }
    const start = this.used;
    this.used += length;
    return this.slabs[this.slab]!.subarray(start, this.used);
  }
}
