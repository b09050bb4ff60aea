/** Streams of a server: the memory of its process, clients that go away, streams that are dropped, and a program without permissions. */

import { assert, assertEquals, assertLess } from "@std/assert";
import { runProgram } from "../support/program.ts";

const MIB = 1 << 20;
const MOST = 64 * MIB;
const TRIES = 3;

// Streams 1 GiB through Deno.serve to a client in another process, and prints the resident bytes above those of the idle server.
const SERVER = `
  import { BlockDevice, IoClient } from "./mod.ts";
  const resident = () => Number(/VmRSS:\\s*(\\d+)/.exec(Deno.readTextFileSync("/proc/self/status"))[1]) * 1024;
  const bytes = 2 ** 30;
  await using device = BlockDevice.open("sparse.img", { write: true, create: bytes });
  await using io = new IoClient();
  await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, ({ url }) =>
    new Response(url.endsWith("/idle") ? "idle" : io.readable({ bdev: device, sector: 0, count: bytes / 512 })));
  const url = "http://127.0.0.1:" + server.addr.port;
  await (await fetch(url + "/idle")).text();
  const idle = resident();
  let most = idle;
  const timer = setInterval(() => most = Math.max(most, resident()), 2);
  const client = "let n = 0; for await (const { length } of (await fetch(Deno.args[0])).body) n += length; console.log(n);";
  Deno.writeTextFileSync("client.ts", client);
  const args = ["run", "-A", "client.ts", url];
  const { stdout } = await new Deno.Command(Deno.execPath(), { args, stderr: "inherit" }).output();
  clearInterval(timer);
  console.log(Number(new TextDecoder().decode(stdout)), most - idle, io.pool.pages - io.pool.available);
`;

Deno.test("a region of 1 GiB streams through Deno.serve with less than 64 MiB above the idle server", async () => {
  let least = Infinity;
  // Most of it is chunks that V8 has not collected yet, which a busy machine delays. A stream that buffered would always hold more.
  for (let i = 0; i < TRIES && least >= MOST; i++) {
    const { stdout, stderr } = await runProgram({ source: SERVER, timeout: 120 });
    const [bytes, above, held] = stdout.trim().split(" ").map(Number);
    assertEquals([bytes, held], [2 ** 30, 0], stderr);
    least = Math.min(least, above!);
  }
  assertLess(least, MOST);
});

Deno.test("a client that goes away in the middle leaves the server no page and no request", async () => {
  const source = `
    import { BlockDevice, IoClient } from "./mod.ts";
    const bytes = 2 ** 28;
    await using device = BlockDevice.open("sparse.img", { write: true, create: bytes });
    await using io = new IoClient();
    const region = { bdev: device, sector: 0, count: bytes / 512 };
    const results = [];
    await using server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async ({ body }) => {
      if (body === null) return new Response(io.readable(region));
      const stream = io.writable([region]);
      results.push(stream.result);
      await body.pipeTo(stream).catch(() => {});
      return new Response("");
    });
    // Not by fetch in this process: after an abort, Deno may keep its connection open until it collects garbage.
    const visit = async (request, reads) => {
      using connection = await Deno.connect({ hostname: "127.0.0.1", port: server.addr.port });
      const bytes = new TextEncoder().encode(request);
      for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
      for (let i = 0; i < reads; i++) await connection.read(new Uint8Array(65536));
    };
    for (let i = 0; i < 20; i++) await visit("GET / HTTP/1.1\\r\\nhost: a\\r\\n\\r\\n", i);
    for (let i = 0; i < 5; i++) {
      const head = "POST / HTTP/1.1\\r\\nhost: a\\r\\ncontent-length: 10000000\\r\\n\\r\\n";
      await visit(head + "x".repeat(500_000 * i), 0);
    }
    const fetches = "const stop = new AbortController(); const { body } = await fetch(Deno.args[0], stop); " +
      "for await (const _ of body) stop.abort();";
    Deno.writeTextFileSync("client.ts", fetches);
    const args = ["run", "-A", "client.ts", "http://127.0.0.1:" + server.addr.port];
    await new Deno.Command(Deno.execPath(), { args, stderr: "null" }).output();
    while (results.length < 5) await new Promise((done) => setTimeout(done, 5));
    const until = performance.now() + 20_000;
    const held = () => [io.pool.pages - io.pool.available, io.outstanding, device.inFlight];
    while (held().some((n) => n > 0) && performance.now() < until) await new Promise((done) => setTimeout(done, 5));
    for (const result of results) if ((await result).ok) throw new Error("a body that was cut off was whole");
    console.log(...held());
  `;
  const { stdout, stderr, code } = await runProgram({ source });
  assertEquals([stdout, code], ["0 0 0\n", 0], stderr);
});

Deno.test("a stream that is dropped half read or half written gives its pages back once it is collected", async () => {
  const source = `
    import { BlockDevice, IoClient } from "./mod.ts";
    await using device = BlockDevice.open("file.img", { write: true, create: 1 << 22 });
    await using io = new IoClient({ pages: 256 });
    const region = { bdev: device, sector: 0, count: 8192 };
    const lived = new AbortController();
    const results = [];
    await (async () => {
      for (let i = 0; i < 4; i++) {
        const options = i % 2 === 0 ? {} : { signal: lived.signal };
        await io.readable(region, options).getReader().read();
        const stream = io.writable([region], options);
        results.push(stream.result);
        await stream.getWriter().write(new Uint8Array(100_000));
      }
    })();
    const held = () => io.pool.pages - io.pool.available;
    if (held() === 0) throw new Error("the streams hold nothing");
    for (let i = 0; i < 500 && held() > 0; i++) {
      gc();
      await new Promise((done) => setTimeout(done, 10));
    }
    const codes = (await Promise.all(results)).flatMap(({ failures }) => failures.map(({ code }) => code));
    console.log(held(), io.outstanding, codes.join(" "));
    lived.abort();
  `;
  const { stdout, stderr } = await runProgram({ source, permissions: ["-A", "--v8-flags=--expose-gc"] });
  assertEquals(stdout, "0 0 ECANCELED ECANCELED ECANCELED ECANCELED\n", stderr);
});

Deno.test("streams of RAM devices need no permission", async () => {
  const source = `
    import { IoClient } from "./mod.ts";
    import { ramDevice } from "./src/testing/mod.ts";
    await using device = ramDevice(1 << 20);
    await using io = new IoClient({ pages: 16 });
    const region = { bdev: device, sector: 0, count: 2048 };
    const stream = io.writable([region]);
    await new Blob([new Uint8Array(1 << 20).fill(7)]).stream().pipeTo(stream);
    let sevens = 0;
    for await (const chunk of io.readable(region)) sevens += chunk.filter((byte) => byte === 7).length;
    console.log((await stream.result).bytes[0], sevens);
  `;
  const { stdout, stderr } = await runProgram({ source, permissions: [] });
  assertEquals(stdout, `${MIB} ${MIB}\n`, stderr);
  assert(stderr === "");
});
