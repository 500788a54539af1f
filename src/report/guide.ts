import { type Html, html } from "./html.ts";

/** What a reader needs to know to judge the report, in plain words. */
export const guide = (): Html => html`
<dl class="guide">
  <dt>What is measured</dt>
  <dd>For each row (an instruction and a response) the gradient of the model's loss on that response, with respect to the attention projections Q, K, V and O of every layer. It is the change that one step of training on that row would ask of each matrix. Its <em>nuclear norm</em>, the sum of its singular values, says how large that change is; its <em>effective rank</em>, over how many directions it spreads.</dd>
  <dt>What a curve shows</dt>
  <dd>The mean over a condition's rows, layer by layer: the first layer to the left, the last to the right. A high curve means that the responses ask much of the model; a jagged one, that they ask much of some layers and little of their neighbours.</dd>
  <dt>MAD</dt>
  <dd>Mean absolute difference: how far a curve jumps on average from one layer to the next. It grows with the curve's height, so a condition with larger gradients has a larger MAD at the same shape. <em>MAD / mean</em> takes the height out.</dd>
  <dt>RD</dt>
  <dd>Relative difference between two curves: the mean over layers of |A − B| / |A|; with A the correct responses and B the irrelevant ones it says how well the gradients tell them apart. It is never negative, and two curves of the very same kind differ a little by chance: compare it with the value that chance stays below in 95 of 100 cases, beside it in the table.</dd>
  <dt>What to make of an interval</dt>
  <dd>Had other questions of the same kind been measured, the number would have come out otherwise. The interval says by how much: made this way, intervals hold the true value in about 95 of 100 studies. Whether two conditions differ is told by the interval of their <em>difference</em> or <em>ratio</em>, not by whether two bands overlap. With fewer than 30 questions intervals are approximate. Those of MAD and RD are rougher than those of means.</dd>
  <dt>Mind the number of labels</dt>
  <dd>The loss is a mean over the response's tokens (its labels). A longer response averages over more of them, and that alone makes its gradient smaller, whatever the response says. A bare answer of three tokens and a chain of thought of three hundred therefore differ for two reasons at once. Figures of labels against nuclear norm show how much of a difference goes with length. “As published” compares all the same; “controlled” compares losses over equally many labels, or holds the number fixed otherwise: the <em>direct</em> effect. It does not refute the published total effect; it says what else it is made of. Where conditions' numbers of labels do not overlap, only an experiment (<code>--labels</code>) can tell, not a regression.</dd>
  <dt>Verdicts</dt>
  <dd><strong>Supported</strong>: all four projections differ as claimed, each with q ≤ 0.05 after correction for the four. <strong>Contradicted</strong>: all four the other way. <strong>Undecided</strong>: anything else, often too few rows. <strong>Not tested</strong>: the runs it takes are not there. <strong>No control</strong>: nothing could stand in for the published comparison.</dd>
</dl>`;
