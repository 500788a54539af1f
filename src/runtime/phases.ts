/** The parts that a row's time is made of; `weights` and `eigenvalues` are times of waiting for them. */
export const phaseNames = ["weights", "embedding", "forward", "head", "backward", "products", "grams", "eigenvalues", "writing"] as const;

export type Phase = (typeof phaseNames)[number];

/** Wall time by phase, in milliseconds. */
export class Phases {
  readonly milliseconds: Record<Phase, number> = Object.fromEntries(phaseNames.map((p) => [p, 0])) as Record<Phase, number>;

  async time<T>(phase: Phase, work: () => Promise<T>): Promise<T> {
    const start = performance.now();
    try {
      return await work();
    } finally {
      this.milliseconds[phase] += performance.now() - start;
    }
  }
}
