import { causalMask, stripRanges } from "../models/attention.ts";
import { tableInputs } from "../models/block.ts";
import type { ModelSpec } from "../models/family.ts";
import { type RopeSpec, ropeTables } from "../models/rope.ts";
import { type FloatArray, indices, type Tensor } from "../tensor/tensor.ts";

/** A row as tokens. Its labels are the tokens from `labelStart` on, each predicted from the position before it. */
export interface TokenRow {
  readonly row: number;
  readonly inputIds: ArrayLike<number>;
  readonly labelStart: number;
}

/** A row with the subsets of its labels whose losses are wanted, one gradient each. */
export interface SubsetRow extends TokenRow {
  /** Each a set of labels, counted from the row's first; the loss is the mean over them. */
  readonly subsets: readonly ArrayLike<number>[];
}

type Feeds = Readonly<Record<string, Tensor>>;

/** Rows laid one after another: `starts[i]` is the first token of row i, the last entry the number of tokens. */
export interface PackLayout {
  readonly rows: readonly TokenRow[];
  readonly starts: readonly number[];
  readonly tokens: number;
  /** Positions and each layer's rotary tables, fed to every stage. */
  readonly tables: readonly Feeds[];
  /** For each layer the masks of each row's strips. */
  readonly masks: readonly (readonly Feeds[])[];
}

/** Lays rows out as packs, with the rotary tables that packs and layers share. */
export class PackLayouts {
  private readonly tables = new Map<RopeSpec, { readonly cos: Tensor<FloatArray>; readonly sin: Tensor<FloatArray> }>();
  /** Positions that the tables have. */
  private tableLength: number;

  /** @param real - A tensor in the precision of the backend. */
  constructor(
    private readonly spec: ModelSpec,
    private readonly maxLength: number,
    private readonly real: (shape: readonly number[], data: FloatArray) => Tensor<FloatArray>,
  ) {
    this.tableLength = maxLength;
  }

  layOut(rows: readonly TokenRow[]): PackLayout {
    const starts = [0];
    for (const { inputIds, row } of rows) {
      if (inputIds.length > this.maxLength)
        throw new Error(`row ${row} has ${inputIds.length} tokens, more than maxLength ${this.maxLength}`);
      starts.push(starts.at(-1)! + inputIds.length);
    }
    const positions = rows.flatMap((r) => Array.from(r.inputIds, (_, i) => i));
    // ONNX Runtime wants tables as long as the whole sequence, though positions start anew with each row.
    if (positions.length > this.tableLength) {
      this.tableLength = positions.length;
      this.tables.clear();
    }
    const at = indices(positions);
    const masksFor = remembered((window: number) => rows.map((r) => stripMasks(r.inputIds.length, window)));
    const longest = rows.reduce((most, r) => Math.max(most, r.inputIds.length), 0);
    return {
      rows,
      starts,
      tokens: positions.length,
      tables: this.spec.attention.map(({ rope }) => {
        const { cos, sin } = this.tablesFor(rope);
        return { [tableInputs.positions]: at, [tableInputs.cos]: cos, [tableInputs.sin]: sin };
      }),
      masks: this.spec.attention.map(({ window }) => masksFor(window < longest ? window : Number.POSITIVE_INFINITY)),
    };
  }

  private tablesFor(rope: RopeSpec): { readonly cos: Tensor<FloatArray>; readonly sin: Tensor<FloatArray> } {
    const known = this.tables.get(rope);
    if (known) return known;
    const { cos, sin } = ropeTables(rope, this.tableLength);
    const shape = [this.tableLength, this.spec.headDim / 2];
    const made = { cos: this.real(shape, cos), sin: this.real(shape, sin) };
    this.tables.set(rope, made);
    return made;
  }
}

/** The masks of a row's strips. */
const stripMasks = (tokens: number, window: number): Feeds =>
  Object.fromEntries(
    stripRanges(tokens).map(({ start, rows }, i) => [`mask.${i}`, { shape: [rows, start + rows], data: causalMask(start, rows, window) }]),
  );

/** A function that is asked once for each argument. */
function remembered<A, B>(f: (a: A) => B): (a: A) => B {
  const known = new Map<A, B>();
  return (a) => {
    if (!known.has(a)) known.set(a, f(a));
    return known.get(a)!;
  };
}
