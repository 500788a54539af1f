import { differentiate } from "../autodiff/differentiate.ts";
import * as t from "../tensor/expr.ts";
import { type Expr, type Graph, input } from "../tensor/expr.ts";
import { dim } from "../tensor/shape.ts";
import { normScale } from "./block.ts";
import type { ModelSpec } from "./family.ts";

/** Names of the weights outside the blocks. */
export const headWeights = { norm: "model.norm.weight", head: "lm_head.weight", embedding: "model.embed_tokens.weight" } as const;

/** Sums in float32 go by so many terms, and then over those sums: a thousand terms one after another would lose digits. */
const TERMS = 512;

/**
 * The output head over label positions and parts of the vocabulary, so that no row of logits exists as a whole.
 *
 * With z the logits, ℓ the label, m the largest logit and w_j the head's rows, the loss is ln(e^{z_ℓ−m} + S) + m − z_ℓ, where S = Σ_{j≠ℓ} e^{z_j−m}, and its
 * gradient with respect to what the head reads is (Σ_{j≠ℓ} e^{z_j−m} w_j − S·w_ℓ) / (e^{z_ℓ−m} + S). One pass over the parts adds up both
 * sums, scaled to the largest logit so far; leaving the label out of them, rather than taking 1 from its share, spares the difference of
 * nearly equal numbers where the model is sure of it.
 */
export interface HeadGraphs {
  /** Hidden states `x` `[N, hidden]` to what the head reads, `states` `[N, hidden]`. */
  readonly begin: Graph;
  /**
   * Takes one part of the vocabulary into account, `size` rows of the head's weight: `states`; the label's row in this part `at` `[N]`, any
   * where `own` `[N, 1]` is 0 rather than 1; and so far, the largest logit `top`, the label's logit `label`, the sum `others` (all `[N, 1]`) and
   * the weighted rows `pulled` `[N, hidden]`. Gives those four anew.
   */
  part(size: number): Graph;
  /** From `x`, `pulled`, each label's row of the head `row` `[N, hidden]`, 1/(e^{z_ℓ−m} + S) `inverse` and S over that sum `miss` (both `[N, 1]`) to `ct.x` `[N, hidden]`. */
  readonly end: Graph;
}

export function headGraphs(spec: ModelSpec): HeadGraphs {
  const { hidden, logitCap } = spec;
  const n = dim("N");
  const column = (name: string): Expr => input(name, [n, 1]);
  const x = input("x", [n, hidden]);
  const normalised = t.rmsNorm(x, normScale(spec, input(headWeights.norm, [hidden])), spec.normEps);
  // A soft cap wants the logits over it: dividing what goes into the product saves a pass over the vocabulary each way.
  const begun = logitCap === Number.POSITIVE_INFINITY ? normalised : t.mul(normalised, t.constant(1 / logitCap));
  const [states, pulled] = [input("states", [n, hidden]), input("pulled", [n, hidden])];
  const [top, label, others] = [column("top"), column("label"), column("others")];

  const part = (size: number): Graph => {
    const [at, own] = [input("at", [n], "int64"), column("own")];
    const logits = t.softcap(t.linear("lm_head", states, input(headWeights.head, [size, hidden])), logitCap);
    const newTop = t.max(t.concat([top, t.max(logits)], 1));
    const scale = t.exp(t.sub(top, newTop));
    const exponentials = t.exp(t.sub(logits, newTop));
    const withoutLabel = t.addAt(exponentials, at, t.neg(t.mul(t.pick(exponentials, at), own)));
    const [more] = differentiate([[logits, withoutLabel]], [states]) as [Expr];
    return {
      name: `head/${size}`,
      outputs: {
        "next.top": newTop,
        "next.label": t.add(label, t.mul(t.pick(logits, at), own)),
        "next.others": t.add(t.mul(others, scale), sumByParts(withoutLabel, size)),
        "next.pulled": t.add(more, t.mul(pulled, scale)),
      },
    };
  };

  const row = input("row", [n, hidden]);
  const labelLogit = t.softcap(t.sum(t.mul(begun, row), 1), logitCap);
  const seeds: [Expr, Expr][] = [
    [begun, t.mul(pulled, column("inverse"))],
    [labelLogit, t.neg(column("miss"))],
  ];
  const [ctX] = differentiate(seeds, [x]) as [Expr];
  return { begin: { name: "head.begin", outputs: { states: begun } }, part, end: { name: "head.end", outputs: { "ct.x": ctX } } };
}

/** The sum of each row of x `[N, width]`, `[N, 1]`. */
function sumByParts(x: Expr, width: number): Expr {
  const whole = Math.floor(width / TERMS);
  const rest = width - whole * TERMS;
  const sums = [
    ...(whole > 0
      ? [t.reshape(t.sum(t.reshape(t.slice(x, 1, 0, whole * TERMS), [x.shape[0]!, whole, TERMS]), 2), [x.shape[0]!, whole])]
      : []),
    ...(rest > 0 ? [t.sum(t.slice(x, 1, whole * TERMS, width), 1)] : []),
  ];
  return t.sum(t.concat(sums, 1), 1);
}
