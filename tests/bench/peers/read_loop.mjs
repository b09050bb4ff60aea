// Random 4 KiB reads with node:fs, in Deno and in Node (hence no TypeScript): the callback form, its fastest,
// `queueDepth` of them at a time over one file. The same clock and the same counting as workloads/meter.ts.
import fs from "node:fs";
import process from "node:process";

const work = JSON.parse(process.argv[2]);
const BYTES = 4096;
const fd = fs.openSync(work.path, work.direct ? fs.constants.O_RDONLY | fs.constants.O_DIRECT : "r");
const blocks = Math.floor(fs.fstatSync(fd).size / BYTES);

const warmUntil = performance.now() + work.warmUp * 1000;
let operations = 0, failed = 0, running = true, from, sample;
let reading = work.queueDepth;

function look() {
  const time = performance.now();
  if (from === undefined) {
    if (time >= warmUntil) from = { operations, time, cpu: process.cpuUsage() };
  } else if (time >= from.time + work.seconds * 1000) {
    const { user, system } = process.cpuUsage(from.cpu);
    running = false;
    sample = {
      operations: operations - from.operations,
      seconds: (time - from.time) / 1000,
      userSeconds: user / 1e6,
      systemSeconds: system / 1e6,
    };
  }
}

function read(page) {
  const ended = (error, bytesRead) => {
    if (error || bytesRead !== BYTES) failed++;
    if (++operations % 16 === 0 && running) look();
    if (running) next();
    else if (--reading === 0) console.log(JSON.stringify({ ...sample, failed }));
  };
  const next = () => fs.read(fd, page, 0, BYTES, Math.floor(Math.random() * blocks) * BYTES, ended);
  next();
}

// Direct I/O wants memory at a multiple of the block, which only Deno can ask for.
function aligned() {
  const buffer = Buffer.alloc(2 * BYTES);
  const address = Number(Deno.UnsafePointer.value(Deno.UnsafePointer.of(buffer)));
  const at = (BYTES - address % BYTES) % BYTES;
  return buffer.subarray(at, at + BYTES);
}

for (let i = 0; i < work.queueDepth; i++) read(work.direct ? aligned() : Buffer.alloc(BYTES));
