// How scripts/fuzz.mjs breaks a file: bytes, numbers, JSON's structure, and halves of two files.

/** Numbers at which readers go wrong, as they stand in a text. */
const EXTREMES = [
  "0",
  "-0",
  "-1",
  "1",
  "0.5",
  "2147483648",
  "4294967296",
  "9007199254740992",
  "1e308",
  "1e999",
  "-1e999",
  "1e-320",
  "NaN",
  "null",
];

/** Texts at which they do: empty, long, half a surrogate pair, control characters, names with a meaning to JavaScript. */
const TEXTS = [
  "",
  "a".repeat(70_000),
  "\\ud800",
  "\\u0000",
  "\\u2028",
  "__proto__",
  "constructor",
  "toString",
  "../../etc/passwd",
  "NaN",
  "Ä\u{1F600}",
];

/** @template T @param {readonly T[]} list */
const pick = (random, list) => list[random.below(list.length)];

/**
 * One mutant of a file: one to four mutations, one after the other.
 *
 * @param random - From `seeded`.
 * @param {Buffer} bytes - The file.
 * @param {Buffer} other - Another of its kind, for splices.
 * @param {"json" | "text" | "binary"} form - What the file is: JSON also breaks by structure, text by its numbers and words.
 * @returns {Buffer}
 */
export function mutate(random, bytes, other, form) {
  let mutant = bytes;
  for (let rounds = 1 + Math.min(random.below(4), random.below(4)); rounds > 0; rounds--)
    mutant = pick(random, mutations[form])(random, mutant, other);
  return mutant;
}

const bytewise = [flipBits, overwriteNumber, lengthenText, removeBytes, insertBytes, repeatBytes, truncate, splice];
const textual = [replaceNumber, replaceNumber, replaceWord, swapLines, flipBits, removeBytes, insertBytes, repeatBytes, truncate, splice];
const mutations = {
  binary: bytewise,
  text: textual,
  json: [changeTree, changeTree, changeTree, changeTree, replaceNumber, replaceNumber, ...textual],
};

function flipBits(random, bytes) {
  const out = Buffer.from(bytes);
  if (out.length > 0) for (let n = 1 + random.below(4); n > 0; n--) out[random.below(out.length)] ^= 1 << random.below(8);
  return out;
}

/** A 32-bit or 64-bit number, little endian, anywhere. */
function overwriteNumber(random, bytes) {
  const out = Buffer.from(bytes);
  const value = pick(random, [0n, 1n, 2n ** 31n, 2n ** 32n - 1n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n, BigInt(bytes.length)]);
  const width = pick(random, [4, 8]);
  // Half of the time where headers are.
  const at = random.below(Math.max(1, Math.min(random.below(2) ? 64 : Number.POSITIVE_INFINITY, out.length - width)));
  for (let i = 0; i < width && at + i < out.length; i++) out[at + i] = Number((value >> BigInt(8 * i)) & 255n);
  return out;
}

/** Makes a text long that its length stands before, as 8 little-endian bytes: GGUF's. The bytes as they are where none is found. */
function lengthenText(random, bytes) {
  const texts = [];
  for (let at = 0; at + 8 < bytes.length && at < 100_000; at++) {
    const length = bytes[at];
    const isLength = length > 0 && bytes.subarray(at + 1, at + 8).every((byte) => byte === 0);
    const text = bytes.subarray(at + 8, at + 8 + length);
    if (isLength && text.length === length && text.every((byte) => byte >= 32)) texts.push(at);
  }
  if (texts.length === 0) return bytes;
  const at = pick(random, texts);
  const long = Buffer.alloc(pick(random, [1000, 10_000, 200_000]), bytes.subarray(at + 8, at + 8 + bytes[at]));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(long.length));
  return Buffer.concat([bytes.subarray(0, at), length, long, bytes.subarray(at + 8 + bytes[at])]);
}

/** Where a part of the file lies: short mostly, anything at times. */
function part(random, length) {
  const start = random.below(length + 1);
  const longest = random.below(4) === 0 ? length : Math.min(length, 16);
  return [start, Math.min(length, start + random.below(longest + 1))];
}

function removeBytes(random, bytes) {
  const [start, end] = part(random, bytes.length);
  return Buffer.concat([bytes.subarray(0, start), bytes.subarray(end)]);
}

function insertBytes(random, bytes) {
  const at = random.below(bytes.length + 1);
  const noise = Buffer.from(Array.from({ length: 1 + random.below(16) }, () => random.below(256)));
  const text = Buffer.from(
    pick(random, ['"', "\\", "{", "}", "[", "]", ",", ":", "\n", "\r\n", "\ufeff", "\0", "\ud83d\ude00", "{%", "{{", "%}"]),
  );
  return Buffer.concat([bytes.subarray(0, at), random.below(2) ? noise : text, bytes.subarray(at)]);
}

function repeatBytes(random, bytes) {
  const [start, end] = part(random, bytes.length);
  const times = Math.min(1 + random.below(64), Math.floor(200_000 / Math.max(1, end - start)));
  return Buffer.concat([bytes.subarray(0, end), ...Array(times).fill(bytes.subarray(start, end)), bytes.subarray(end)]);
}

function truncate(random, bytes) {
  return bytes.subarray(0, random.below(bytes.length + 1));
}

function splice(random, bytes, other) {
  return Buffer.concat([bytes.subarray(0, random.below(bytes.length + 1)), other.subarray(random.below(other.length + 1))]);
}

/** Changes one match of a pattern; the text as it is where there is none. latin1 keeps every byte. */
function changeMatch(random, bytes, pattern, change) {
  const text = bytes.toString("latin1");
  const matches = [...text.matchAll(pattern)];
  if (matches.length === 0) return bytes;
  const match = pick(random, matches);
  return Buffer.from(text.slice(0, match.index) + change(match[0], matches) + text.slice(match.index + match[0].length), "latin1");
}

function replaceNumber(random, bytes) {
  return changeMatch(random, bytes, /-?\d+(\.\d+)?([eE][+-]?\d+)?/g, () => pick(random, EXTREMES));
}

/** A word by another of the same file, or by a hostile one. */
function replaceWord(random, bytes) {
  return changeMatch(random, bytes, /[A-Za-z_]{2,}/g, (_, matches) =>
    random.below(4) === 0 ? Buffer.from(pick(random, TEXTS)).toString("latin1") : pick(random, matches)[0],
  );
}

function swapLines(random, bytes) {
  const lines = bytes.toString("latin1").split("\n");
  const [i, j] = [random.below(lines.length), random.below(lines.length)];
  [lines[i], lines[j]] = [lines[j], lines[i]];
  return Buffer.from(lines.join("\n"), "latin1");
}

/** One change of a JSON value's structure. What is no JSON (any more) stays as it is. */
function changeTree(random, bytes) {
  let tree;
  try {
    tree = toTree(JSON.parse(bytes.toString("utf8")));
  } catch {
    return bytes;
  }
  const places = [];
  const collect = (node, replace) => {
    places.push({ node, replace });
    if (node.items) for (const item of node.items) collect(item.value, (value) => Object.assign(item, { value }));
  };
  collect(tree, (value) => {
    tree = value;
  });
  const { node, replace } = pick(random, places);
  pick(random, node.items?.length ? [...inside, ...anywhere] : anywhere)(random, node, replace, pick(random, places).node);
  return Buffer.from(write(tree));
}

const raw = (text) => ({ text });
const inside = [
  // A key twice, or a list's entry.
  (random, node) => node.items.push({ ...pick(random, node.items) }),
  (random, node) => node.items.push({ key: pick(random, node.items).key, value: raw(pick(random, EXTREMES)) }),
  (random, node) => node.items.splice(random.below(node.items.length), 1),
  (random, node) => {
    const [a, b] = [pick(random, node.items), pick(random, node.items)];
    [a.value, b.value] = [b.value, a.value];
  },
  (random, node) => Object.assign(pick(random, node.items), { key: `"${pick(random, TEXTS)}"` }),
];
const anywhere = [
  (random, _node, replace) => replace(raw(pick(random, EXTREMES))),
  (random, _node, replace) => replace(raw(`"${pick(random, TEXTS)}"`)),
  (random, _node, replace) => replace(raw(pick(random, ["[]", "{}", "true", "false", "[null]", '{"":0}', "[[]]"]))),
  (_random, _node, replace, other) => replace(raw(write(other).slice(0, 100_000))),
  (random, node, replace) => {
    const depth = pick(random, [1, 10, 1000, 20_000]);
    const [open, close] = pick(random, [
      ["[", "]"],
      ['{"a":', "}"],
    ]);
    replace(raw(open.repeat(depth) + write(node) + close.repeat(depth)));
  },
];

/** A JSON value as nodes whose objects keep keys that are there twice: `{ items, isList }`, or `{ text }`. */
function toTree(value) {
  if (typeof value !== "object" || value === null) return raw(JSON.stringify(value));
  const isList = Array.isArray(value);
  return { isList, items: Object.entries(value).map(([key, entry]) => ({ key: JSON.stringify(key), value: toTree(entry) })) };
}

function write(node) {
  if (node.text !== undefined) return node.text;
  const items = node.items.map(({ key, value }) => (node.isList ? write(value) : `${key}:${write(value)}`));
  return node.isList ? `[${items.join(",")}]` : `{${items.join(",")}}`;
}
