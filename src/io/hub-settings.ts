import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { LayergradError } from "../errors.ts";
import { fsCode, fsReason } from "./fs-reason.ts";

// How the Hugging Face Hub is reached and where its files lie, by the variables that Python's huggingface_hub goes by, as it reads them.

/**
 * Address of the Hub, without a slash at its end: `HF_ENDPOINT`, else the public one.
 *
 * @throws {LayergradError} `usage` where that is no address.
 */
export function hubEndpoint(): string {
  const stated = process.env.HF_ENDPOINT || "https://huggingface.co";
  // What stands before an @ may be a password, which belongs in no message.
  if (stated.includes("@"))
    throw new LayergradError(
      "usage",
      "HF_ENDPOINT holds an @, as of a user or a password, and an address such as https://huggingface.co is expected; leave them out, a token goes into HF_TOKEN.",
    );
  if (!/^https?:\/\//i.test(stated) || !URL.canParse(stated))
    throw new LayergradError(
      "usage",
      `HF_ENDPOINT is ${JSON.stringify(stated)}, which is no address such as https://huggingface.co; correct it, or unset it.`,
    );
  return stated.replace(/\/+$/, "");
}

/** Whether nothing may be asked of the Hub: `HF_HUB_OFFLINE`, else `TRANSFORMERS_OFFLINE`, is 1, true, yes or on. */
export const isHubOffline = (): boolean => isOn(process.env.HF_HUB_OFFLINE || process.env.TRANSFORMERS_OFFLINE);

/** Folder of the cache: `HF_HUB_CACHE` (of old `HUGGINGFACE_HUB_CACHE`), else `hub` in `HF_HOME`, by default `~/.cache/huggingface`. */
export const hubCache = (): string => expand(process.env.HF_HUB_CACHE || process.env.HUGGINGFACE_HUB_CACHE) ?? join(hubHome(), "hub");

/** Whether the cache holds copies in place of symbolic links: `HF_HUB_DISABLE_SYMLINKS`. */
export const isWithoutLinks = (): boolean => isOn(process.env.HF_HUB_DISABLE_SYMLINKS);

/**
 * The header that shows the user's token, for an address of the Hub itself; none for any other host, nor where there is no token. The
 * token is `HF_TOKEN`, else the one that `hf auth login` stored (`HF_TOKEN_PATH`, else `token` in `HF_HOME`); with
 * `HF_HUB_DISABLE_IMPLICIT_TOKEN` none.
 *
 * @throws {LayergradError} `usage` for a token that cannot be one. The token is in no message.
 */
export function hubAuthorization(url: string): { readonly authorization?: string } {
  if (new URL(url).origin !== new URL(hubEndpoint()).origin || isOn(process.env.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return {};
  const stated = process.env.HF_TOKEN || process.env.HUGGING_FACE_HUB_TOKEN;
  const token = (stated ?? storedToken())?.trim();
  if (!token) return {};
  // A header takes no other characters, and fetch would quote the token in saying so.
  if (!/^[\x21-\x7e]+$/.test(token))
    throw new LayergradError(
      "usage",
      `${stated ? "HF_TOKEN" : tokenPath()} holds characters that a token of the Hub cannot have; copy it again from https://huggingface.co/settings/tokens.`,
    );
  return { authorization: `Bearer ${token}` };
}

const tokenPath = (): string => expand(process.env.HF_TOKEN_PATH) ?? join(hubHome(), "token");

function storedToken(): string | undefined {
  const path = tokenPath();
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    const code = fsCode(cause);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw new LayergradError("usage", `${path}, the stored token of the Hub, cannot be read: ${fsReason(cause)}; set HF_TOKEN instead.`, {
      cause,
    });
  }
}

const hubHome = (): string =>
  expand(process.env.HF_HOME) ?? join(expand(process.env.XDG_CACHE_HOME) ?? join(homedir(), ".cache"), "huggingface");

const expand = (path: string | undefined): string | undefined => (path ? path.replace(/^~(?=$|[/\\])/, homedir()) : undefined);

const isOn = (value: string | undefined): boolean => /^(1|true|yes|on)$/i.test(value ?? "");
