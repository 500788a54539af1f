import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { serve } from "./http.ts";

/** A model repository that {@link serveHub} serves. */
export interface TestRepository {
  readonly files: ReadonlyMap<string, Buffer>;
  /** Of the branch `main`. */
  readonly commit: string;
}

const sha1 = (bytes: Uint8Array): string => createHash("sha1").update(bytes).digest("hex");
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** What git calls a file of these bytes. */
export const gitHash = (bytes: Uint8Array): string => sha1(Buffer.concat([Buffer.from(`blob ${bytes.length}\0`), bytes]));

/** A repository of a folder's files, and of more; a commit's hash is one of its contents. */
export function repositoryOf(folder: string | undefined, more: Readonly<Record<string, Uint8Array | string | null>> = {}): TestRepository {
  const files = new Map(folder ? readdirSync(folder).map((name) => [name, readFileSync(join(folder, name))] as const) : []);
  for (const [name, content] of Object.entries(more)) {
    if (content === null) files.delete(name);
    else files.set(name, Buffer.from(content));
  }
  return { files, commit: sha1(Buffer.from([...files].map(([name, bytes]) => `${name} ${sha256(bytes)}`).join("\n"))) };
}

/** The Hub keeps what is large or no text in large file storage, on other hosts. */
const isLarge = (name: string): boolean => /\.(safetensors|gguf|bin)$/.test(name) || name === "tokenizer.json";

/** The name by which the Hub, and so the cache, knows a file's bytes. */
export const etagOf = (name: string, bytes: Uint8Array): string => (isLarge(name) ? sha256(bytes) : gitHash(bytes));

export interface Asked {
  readonly method: string;
  readonly url: string;
  readonly authorization: string | undefined;
  readonly range: string | undefined;
  /** Whether the file storage was asked, not the Hub. */
  readonly store: boolean;
}

export interface TestHub {
  readonly url: string;
  readonly asked: readonly Asked[];
  readonly repositories: Map<string, TestRepository>;
  /** Branches and tags beside `main`, by `owner/name revision`. */
  readonly revisions: Map<string, TestRepository>;
  /** New names by old ones. */
  readonly renamed: Map<string, string>;
  /** Answers in place of the Hub or its storage; true where it did. */
  fault: ((request: IncomingMessage, response: ServerResponse, content: Buffer | undefined) => boolean) | undefined;
  close(): Promise<void>;
}

/**
 * A Hub on this machine: its API for models, and files that it hands out itself or, where they are large, sends on to a storage of another
 * origin, with the headers that clients go by. Files are served in ranges; listings come in pages of three.
 */
export async function serveHub(repositories: Readonly<Record<string, TestRepository>>): Promise<TestHub> {
  const asked: Asked[] = [];
  const note = (request: IncomingMessage, store: boolean): void => {
    const { authorization, range } = request.headers;
    asked.push({ method: request.method!, url: request.url!, authorization, range, store });
  };
  const store = await serve((request, response) => {
    note(request, true);
    const [, hash] = /^\/([0-9a-f]{64})/.exec(request.url!) ?? [];
    const content = [...hub.repositories.values(), ...hub.revisions.values()]
      .flatMap((repository) => [...repository.files.values()])
      .find((bytes) => sha256(bytes) === hash);
    if (hub.fault?.(request, response, content)) return;
    if (content) sendFile(request, response, content);
    else response.writeHead(403).end();
  });
  const server = await serve((request, response) => {
    note(request, false);
    if (hub.fault?.(request, response, undefined)) return;
    answerAsHub(hub, store.url, request, response);
  });
  const hub: TestHub = {
    url: server.url,
    asked,
    repositories: new Map(Object.entries(repositories)),
    revisions: new Map(),
    renamed: new Map(),
    fault: undefined,
    close: async () => {
      await server.close();
      await store.close();
    },
  };
  return hub;
}

export const refuse = (response: ServerResponse, status: number, code: string): void => {
  response.writeHead(status, { "x-error-code": code, "content-type": "application/json" }).end(JSON.stringify({ error: code }));
};

function answerAsHub(hub: TestHub, store: string, request: IncomingMessage, response: ServerResponse): void {
  const url = new URL(request.url!, hub.url);
  const api = /^\/api\/(models|datasets|spaces)\/([^/]+\/[^/]+)(?:\/(revision|tree)\/([^/]+)(?:\/(.*))?)?$/.exec(url.pathname);
  const file = /^\/([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.*)$/.exec(url.pathname);
  const [id = "", coded = ""] = api ? [api[2], api[4] ?? "main"] : [file?.[1], file?.[2]];
  const name = hub.renamed.get(id);
  const isModel = hub.repositories.has(id) && (!api || api[1] === "models");
  const repository = findRevision(hub, id, decodeURIComponent(coded));
  if (name !== undefined) response.writeHead(307, { location: request.url!.replace(id, name) }).end();
  else if (!isModel) refuse(response, 401, "RepoNotFound");
  else if (!repository) refuse(response, 404, "RevisionNotFound");
  else if (file) sendResolved(repository, decodeURIComponent(file[3]!), store, request, response);
  else if (api![3] === "tree") sendTree(repository, decodeURIComponent(api![5] ?? ""), url, response);
  else sendInfo(id, repository, response);
}

function findRevision(hub: TestHub, id: string, revision: string): TestRepository | undefined {
  const main = hub.repositories.get(id);
  if (revision === "main" || revision === "HEAD") return main;
  const named = hub.revisions.get(`${id} ${revision}`);
  const others = [...hub.revisions].flatMap(([key, repository]) => (key.startsWith(`${id} `) ? [repository] : []));
  return named ?? [main, ...others].find((repository) => repository?.commit === revision);
}

function sendInfo(id: string, { commit, files }: TestRepository, response: ServerResponse): void {
  const siblings = [...files.keys()].map((rfilename) => ({ rfilename }));
  const counts = { private: false, gated: false, downloads: 0, likes: 0, lastModified: "2026-01-01T00:00:00.000Z" };
  response.setHeader("content-type", "application/json").end(JSON.stringify({ _id: "1", id, sha: commit, ...counts, siblings }));
}

function sendResolved(repository: TestRepository, name: string, store: string, request: IncomingMessage, response: ServerResponse): void {
  const content = repository.files.get(name);
  if (!content) {
    refuse(response, 404, "EntryNotFound");
    return;
  }
  const headers = { "x-repo-commit": repository.commit, etag: `"${etagOf(name, content)}"` };
  if (isLarge(name))
    response
      .writeHead(302, {
        ...headers,
        "x-linked-etag": headers.etag,
        "x-linked-size": content.length,
        location: `${store}/${sha256(content)}?signature=1`,
      })
      .end();
  else sendFile(request, response, content, headers);
}

function sendFile(
  request: IncomingMessage,
  response: ServerResponse,
  content: Buffer,
  headers: Readonly<Record<string, string>> = {},
): void {
  const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
  const start = Number(first ?? 0);
  const end = Math.min(content.length, last ? Number(last) + 1 : content.length);
  if (first !== undefined && start >= content.length) response.writeHead(416, { "content-range": `bytes */${content.length}` }).end();
  else
    response
      .writeHead(first === undefined ? 200 : 206, {
        ...headers,
        "accept-ranges": "bytes",
        "content-length": end - start,
        ...(first === undefined ? {} : { "content-range": `bytes ${start}-${end - 1}/${content.length}` }),
      })
      .end(request.method === "HEAD" ? undefined : content.subarray(start, end));
}

/** A page of a folder's entries; those of folders within too where the listing is recursive. */
function sendTree(repository: TestRepository, folder: string, url: URL, response: ServerResponse): void {
  const recursive = url.searchParams.get("recursive") === "true";
  const below = folder === "" ? "" : `${folder}/`;
  const inside = [...repository.files].filter(([path]) => path.startsWith(below));
  if (inside.length === 0) {
    refuse(response, 404, "EntryNotFound");
    return;
  }
  const folders = new Set(
    inside.flatMap(([path]) => {
      const rest = path.slice(below.length);
      return rest.includes("/") ? [below + rest.slice(0, rest.indexOf("/"))] : [];
    }),
  );
  const entries = [
    ...[...folders].map((path) => ({ type: "directory", oid: sha1(Buffer.from(path)), size: 0, path })),
    ...inside
      .filter(([path]) => recursive || !path.slice(below.length).includes("/"))
      .map(([path, bytes]) => ({
        type: "file",
        oid: isLarge(path) ? sha1(bytes) : gitHash(bytes),
        size: bytes.length,
        ...(isLarge(path) ? { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 130 } } : {}),
        path,
      })),
  ];
  const start = Number(url.searchParams.get("cursor") ?? 0);
  const next = new URL(url);
  next.searchParams.set("cursor", `${start + 3}`);
  if (start + 3 < entries.length) response.setHeader("link", `<${next.href}>; rel="next"`);
  response.setHeader("content-type", "application/json").end(JSON.stringify(entries.slice(start, start + 3)));
}
