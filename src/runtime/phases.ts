/** The parts that a row's time is made of; `weights` and `eigenvalues` are times of waiting for them. */
export const phaseNames = ["weights", "embedding", "forward", "head", "backward", "products", "grams", "eigenvalues", "writing"] as const;

export type Phase = (typeof phaseNames)[number];

const none = (): Record<Phase, number> => Object.fromEntries(phaseNames.map((p) => [p, 0])) as Record<Phase, number>;

/** Wall time by phase, in milliseconds. */
export class Phases {
  milliseconds: Record<Phase, number> = none();

  /** Adds what was taken elsewhere. */
  add(milliseconds: Readonly<Record<Phase, number>>): void {
    for (const phase of phaseNames) this.milliseconds[phase] += milliseconds[phase];
  }

  /** What was taken so far, which counts from nothing again. */
  takeOut(): Record<Phase, number> {
    const taken = this.milliseconds;
    this.milliseconds = none();
    return taken;
  }

  async time<T>(phase: Phase, work: () => Promise<T>): Promise<T> {
    const start = performance.now();
    try {
      return await work();
    } finally {
      this.milliseconds[phase] += performance.now() - start;
    }
  }
}
