import type { Backend, Program } from "./backend.ts";

/**
 * Lets a process end while other threads compute. Node ends those threads with the process, and ONNX Runtime's calls do not survive that: the
 * process would abort. At its exit the main thread therefore waits for the call that is under way, and no other begins.
 *
 * Of two cells: the first says that the process ends, the second that a call is under way.
 */
export type ExitGate = Int32Array;

const ENDING = 0;
const BUSY = 1;

export const exitGate = (): ExitGate => new Int32Array(new SharedArrayBuffer(8));

/** Lets the calls under way end, and no other begin. For the main thread, as the last thing it does. */
export function closeGates(gates: readonly ExitGate[]): void {
  for (const gate of gates) Atomics.store(gate, ENDING, 1);
  for (const gate of gates) while (Atomics.load(gate, BUSY) === 1) Atomics.wait(gate, BUSY, 1);
}

/** A backend whose every call passes the gate. */
export function behindGate(backend: Backend, gate: ExitGate): Backend {
  const passing = async <T>(call: () => Promise<T>): Promise<T> => {
    Atomics.store(gate, BUSY, 1);
    try {
      // Stored and then looked: whichever thread is first, one of the two sees the other.
      if (Atomics.load(gate, ENDING) === 1) rest(gate);
      return await call();
    } finally {
      lower(gate);
    }
  };
  return {
    ...backend,
    compile: async (graph, constants) => {
      const program = await passing(() => backend.compile(graph, constants));
      return {
        run: (feeds, into) => passing(() => program.run(feeds, into)),
        release: () => passing(() => program.release()),
      } satisfies Program;
    },
  };
}

function lower(gate: ExitGate): void {
  Atomics.store(gate, BUSY, 0);
  Atomics.notify(gate, BUSY);
}

/** Sleeps until the process has ended. */
function rest(gate: ExitGate): void {
  lower(gate);
  Atomics.wait(gate, ENDING, 1);
}
