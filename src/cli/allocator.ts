/** Environment that tells glibc's malloc to keep freed memory, however large the array was. */
export const keepingMemory = {
  MALLOC_MMAP_THRESHOLD_: "4000000000",
  MALLOC_TRIM_THRESHOLD_: "40000000000",
  MALLOC_TOP_PAD_: "67108864",
} as const;

/** Node's process, with what this version of its types does not have yet. */
type Replaceable = typeof process & { execve?(file: string, args: readonly string[], env: NodeJS.ProcessEnv): never };

/**
 * Begins this process anew, under its own id, with an allocator that keeps freed memory for the next array. ONNX Runtime's results come as
 * new arrays of tens of megabytes, call after call; by itself glibc takes each from the kernel, page by page, and gives it back when it is freed.
 *
 * Done on Linux where Node can replace a process (22.15, 23.11 and later), unless the environment says otherwise already; elsewhere nothing happens.
 */
export function keepFreedMemory(): void {
  const { platform, env, execPath, execArgv, argv }: Replaceable = process;
  if (platform !== "linux" || Object.keys(keepingMemory).some((name) => env[name] !== undefined)) return;
  (process as Replaceable).execve?.(execPath, [execPath, ...execArgv, ...argv.slice(1)], { ...env, ...keepingMemory });
}
