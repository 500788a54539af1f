import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** A server on this machine alone, and what it was asked. */
export interface TestServer {
  /** `http://127.0.0.1:<free port>` */
  readonly url: string;
  /** Paths of the requests, in their order. */
  readonly asked: string[];
  close(): Promise<void>;
}

/** Serves until it is closed; the answer is told how many requests of that path came before. */
export async function serve(answer: (request: IncomingMessage, response: ServerResponse, before: number) => void): Promise<TestServer> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const before = asked.filter((path) => path === request.url).length;
    asked.push(request.url!);
    answer(request, response, before);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** Sends half of what it announces, then hangs up. */
export function cutShort(response: ServerResponse, content: Uint8Array): void {
  response.writeHead(200, { "content-length": content.length });
  response.write(content.subarray(0, content.length / 2), () => response.destroy());
}
