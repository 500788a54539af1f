/**
 * Rows in packs of at most `batchTokens` tokens, in their order; a longer row is a pack of its own. The plan
 * depends on the rows and the budget alone, so a resumed run packs as the first one did.
 */
export function packRows<R extends { readonly inputIds: ArrayLike<number> }>(rows: readonly R[], batchTokens: number): R[][] {
  const packs: R[][] = [];
  let room = 0;
  for (const row of rows) {
    const tokens = row.inputIds.length;
    if (packs.length === 0 || tokens > room) {
      packs.push([]);
      room = batchTokens;
    }
    packs.at(-1)!.push(row);
    room -= tokens;
  }
  return packs;
}

/** Packs in waves of at most `waveTokens` tokens, in their order; a longer pack is a wave of its own. Waves change no pack, and so no digit. */
export function wavesOf<R extends { readonly inputIds: ArrayLike<number> }>(
  packs: readonly (readonly R[])[],
  waveTokens: number,
): (readonly R[])[][] {
  const measured = packs.map((pack) => ({ pack, inputIds: { length: pack.reduce((sum, { inputIds }) => sum + inputIds.length, 0) } }));
  return packRows(measured, waveTokens).map((wave) => wave.map(({ pack }) => pack));
}
