import { describe, expect, it } from "vitest";
import { Borrower, WeightDesk } from "./weight-desk.ts";
import { groupLength, type Weights } from "./weight-supply.ts";

/** A source whose reads end when they are told to; tensor `n` holds its own number. */
function paused() {
  const waiting: { name: string; end(error?: Error): void }[] = [];
  const source = {
    read: (name: string, target?: Float32Array): Promise<Float32Array> =>
      new Promise((resolve, reject) => {
        waiting.push({ name, end: (error) => (error ? reject(error) : resolve(target!.fill(Number(name)))) });
      }),
  };
  return { source, waiting };
}

/** A source that notes what is read. */
function noting() {
  const reads: number[] = [];
  const source = {
    read: async (name: string, target?: Float32Array): Promise<Float32Array> => {
      reads.push(Number(name));
      await turn();
      return target!.fill(Number(name));
    },
  };
  return { source, reads };
}

const groupsOf = (count: number) => Array.from({ length: count }, (_, n) => [{ input: "w", name: String(n), shape: [2, 3] }]);
const groups = groupsOf(4);
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Weights on their way to another thread and back: the buffer is another one. */
const throughThread = (weights: Weights): Weights =>
  structuredClone(weights, { transfer: Object.values(weights).map(({ data }) => data.buffer as ArrayBuffer) });

/** A borrower that has taken group 0 while group 1 is being read. */
async function readingAhead() {
  const { source, waiting } = paused();
  const supply = new Borrower(new WeightDesk(source, groups, new Map()));
  const first = supply.take(0, 1);
  await turn();
  waiting[0]!.end();
  const taken = await first;
  await turn();
  return { supply, waiting, taken };
}

describe("weights that one borrower streams", () => {
  it("read the next group while the present one is in use, and hold the two used last", async () => {
    const { supply, waiting, taken } = await readingAhead();
    expect(taken.w!.data).toEqual(new Float32Array(6).fill(0));
    expect(waiting.map((r) => r.name)).toEqual(["0", "1"]);
    waiting[1]!.end();
    expect((await supply.take(1, 0)).w!.data[0]).toBe(1);
    expect((await supply.take(0, 1)).w!.data[0]).toBe(0);
    await turn();
    expect(waiting).toHaveLength(2);
    await supply.close();
  });

  it("do not read into memory that an earlier read, given up, still writes to", async () => {
    const { supply, waiting } = await readingAhead();
    // 1 is given up: 2 is taken, and 3, and then 0 again, which goes where 1 is still being read.
    for (const group of [2, 3]) {
      const taking = supply.take(group);
      await turn();
      waiting[group]!.end();
      expect((await taking).w!.data[0]).toBe(group);
    }
    const last = supply.take(0);
    await turn();
    expect(waiting.map((r) => r.name)).toEqual(["0", "1", "2", "3"]);
    waiting[1]!.end();
    await turn();
    expect(waiting.map((r) => r.name)).toEqual(["0", "1", "2", "3", "0"]);
    waiting[4]!.end();
    expect((await last).w!.data).toEqual(new Float32Array(6).fill(0));
    await supply.close();
  });

  it("tell whoever takes a group that it cannot be read, and nobody else", async () => {
    const { supply, waiting } = await readingAhead();
    waiting[1]!.end(new Error("the disk is gone"));
    await turn();
    await expect(supply.take(1)).rejects.toThrow("the disk is gone");
    await supply.close();
  });

  it("take a group that is held without reading it", async () => {
    const { source, waiting } = paused();
    const held = { w: { shape: [1], data: Float32Array.of(7) } };
    const supply = new Borrower(new WeightDesk(source, groups, new Map([[3, held]])));
    expect(await supply.take(3, 3)).toBe(held);
    expect(waiting).toHaveLength(0);
    await supply.close();
  });

  it("begin each tensor at a cache line", () => {
    expect(groupLength([...groups[0]!, { input: "b", name: "b", shape: [17] }])).toBe(16 + 32);
  });
});

describe("weights that several borrowers share", () => {
  /** A way through the groups: up to the head and down again. */
  const way = (count: number): number[] => [...Array(count).keys(), ...[...Array(count - 1).keys()].reverse()];

  /** Goes a way, taking some turns at each group; notes who has what. */
  async function go(
    desk: WeightDesk,
    borrower: number,
    groups: readonly number[],
    turns: (step: number) => number,
    having: Set<number>,
  ): Promise<void> {
    for (const [step, group] of groups.entries()) {
      const weights = await desk.borrow(borrower, group, groups[step + 1]);
      expect(having.has(group)).toBe(false);
      having.add(group);
      expect([...weights.w!.data]).toEqual(new Array(6).fill(group));
      const returned = throughThread(weights);
      for (let i = 0; i < turns(step); i++) await turn();
      having.delete(group);
      desk.giveBack(borrower, group, returned);
    }
    desk.leave(borrower);
  }

  it.each([2, 3, 4])(
    "are with one of %i at a time, and are read twice at most for all of them, however uneven their pace",
    async (borrowers) => {
      const { source, reads } = noting();
      const desk = new WeightDesk(source, groupsOf(7), new Map(), borrowers);
      for (let round = 0; round < 3; round++) {
        reads.length = 0;
        const having = new Set<number>();
        desk.begin(Array(borrowers).keys());
        // Some are slow at first and quick at the end, some the other way round.
        await Promise.all(
          Array.from({ length: borrowers }, (_, b) =>
            go(desk, b, way(7), (step) => 1 + ((b + round) % 2 === 0 ? step : 12 - step), having),
          ),
        );
        for (let group = 0; group < 7; group++) expect(reads.filter((g) => g === group).length).toBeLessThanOrEqual(2);
        // The turning point is not read again.
        expect(reads.filter((g) => g === 6)).toHaveLength(1);
      }
      await desk.close();
    },
  );

  it("go on for the others when one has less to do and leaves the round", async () => {
    const { source } = noting();
    const desk = new WeightDesk(source, groupsOf(5), new Map(), 2);
    desk.begin([0, 1]);
    const twice = [...way(5), ...way(5).slice(4)];
    await Promise.all([go(desk, 0, way(5), () => 1, new Set()), go(desk, 1, twice, () => 2, new Set())]);
    await desk.close();
  });

  it("that are held need no round, and go from hand to hand", async () => {
    const { source, reads } = noting();
    const held = new Map(groups.map((_, n) => [n, { w: { shape: [2, 3], data: new Float32Array(6).fill(n) } }]));
    const desk = new WeightDesk(source, groups, held, 2);
    const having = new Set<number>();
    const often = [...way(4), ...way(4), ...way(4)];
    await Promise.all([go(desk, 0, often, () => 1, having), go(desk, 1, often, (step) => step % 3, having)]);
    expect(reads).toHaveLength(0);
    await desk.close();
  });

  it("are refused to whoever still waits when the desk closes", async () => {
    const { source } = noting();
    const held = new Map(groups.map((_, n) => [n, { w: { shape: [2, 3], data: new Float32Array(6) } }]));
    const desk = new WeightDesk(source, groups, held, 2);
    await desk.borrow(0, 2);
    const waiting = desk.borrow(1, 2);
    await turn();
    await desk.close();
    await expect(waiting).rejects.toThrow("no longer lent");
    await expect(desk.borrow(1, 3)).rejects.toThrow("no longer lent");
  });
});
