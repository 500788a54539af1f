// Imported first, begins the bench anew as a child whose allocator keeps freed memory, as the command line's does: it replaces its own process,
// which needs Node 22.15. Settings of the allocator that are there already are left alone.
import { spawnSync } from "node:child_process";
import { keepingMemory } from "../dist/cli/allocator.js";

const { platform, env, execPath, execArgv, argv } = process;
if (platform === "linux" && !Object.keys(keepingMemory).some((name) => env[name] !== undefined)) {
  const { status } = spawnSync(execPath, [...execArgv, ...argv.slice(1)], { stdio: "inherit", env: { ...env, ...keepingMemory } });
  process.exit(status ?? 1);
}
