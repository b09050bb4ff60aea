/** Who waits for pages, and in which order they are served. */

import { assert, assertEquals, assertFalse } from "@std/assert";
import { PageQueue, type PageWaiter } from "../../../src/pool/page_queue.ts";

type Answer = ReturnType<PageWaiter["take"]>;

class Waiter implements PageWaiter {
  waiting = true;
  answer: Answer = "served";
  /** The key that it has once it is held. */
  heldBy: unknown;

  constructor(readonly name: string, public key: unknown, readonly log: string[]) {
    this.heldBy = key;
  }

  take(): Answer {
    this.log.push(this.name);
    if (this.answer === "served") this.waiting = false;
    if (this.answer === "held") this.key = this.heldBy;
    return this.answer;
  }
}

class Refusable extends Waiter {
  refuse(): void {}
}

class Bed {
  readonly queue = new PageQueue();
  readonly log: string[] = [];

  add(name: string, key: unknown, answer: Answer = "served", Kind = Waiter): Waiter {
    const waiter = new Kind(name, key, this.log);
    waiter.answer = answer;
    this.queue.add(waiter);
    return waiter;
  }

  /** Who is asked in one round. */
  serve(): { asked: string; short: boolean } {
    this.log.length = 0;
    const short = this.queue.serve();
    return { asked: this.log.join(""), short };
  }
}

Deno.test("waiters are served in the order in which they came, whatever their keys", () => {
  const bed = new Bed();
  for (const [i, key] of [1, 2, 1, 3, 2].entries()) bed.add("abcde"[i]!, key);
  assertEquals(bed.queue.size, 5);
  assertEquals([bed.serve(), bed.queue.size], [{ asked: "abcde", short: false }, 0]);
  assertEquals(bed.serve(), { asked: "", short: false });
});

Deno.test("a waiter that is short of pages stops all behind it, and stays the first", () => {
  const bed = new Bed();
  bed.add("a", 1);
  const short = bed.add("b", 2, "short");
  bed.add("c", 3);
  assertEquals(bed.serve(), { asked: "ab", short: true });
  assertEquals(bed.serve(), { asked: "b", short: true });
  short.answer = "served";
  assertEquals(bed.serve(), { asked: "bc", short: false });
});

Deno.test("a waiter that is held stops its own key, and the others go on", () => {
  const bed = new Bed();
  const held = bed.add("a", 1, "held");
  bed.add("b", 1);
  bed.add("c", 2);
  assertEquals(bed.serve(), { asked: "ac", short: false });
  held.answer = "served";
  assertEquals(bed.serve(), { asked: "ab", short: false });
});

Deno.test("a waiter that is held by another key waits there, by the turn that it had", () => {
  const bed = new Bed();
  const moved = bed.add("a", 1, "held");
  moved.heldBy = 2;
  bed.add("b", 1);
  bed.add("c", 2);
  assertEquals(bed.serve(), { asked: "ab", short: false }, "c is behind a now");
  moved.answer = "served";
  assertEquals(bed.serve(), { asked: "ac", short: false });
});

Deno.test("a waiter that waits no more is passed over", () => {
  const bed = new Bed();
  bed.add("a", 1).waiting = false;
  bed.add("b", 1);
  bed.add("c", 2).waiting = false;
  assertEquals(bed.queue.size, 1);
  assertEquals(bed.serve(), { asked: "b", short: false });
});

Deno.test("a waiter that is served and comes back is the last", () => {
  const bed = new Bed();
  const back = bed.add("a", 1);
  bed.add("b", 1);
  const take = back.take.bind(back);
  let rounds = 0;
  back.take = () => {
    take();
    if (rounds++ > 0) return "served";
    back.waiting = true;
    bed.queue.add(back);
    return "served";
  };
  assertEquals(bed.serve(), { asked: "aba", short: false });
});

Deno.test("only those who can be refused are taken out, and the others are still served", () => {
  const bed = new Bed();
  const [a, c] = [bed.add("a", 1, "short", Refusable), bed.add("c", 2, "served", Refusable)];
  bed.add("b", 1);
  bed.add("d", 1, "served", Refusable).waiting = false;
  assertEquals(bed.queue.removeRefusable(), [a, c]);
  assertEquals(bed.serve(), { asked: "b", short: false });
  assertEquals(bed.queue.removeRefusable(), []);
});

Deno.test("thousands behind one that is held are neither asked nor lost", () => {
  const bed = new Bed();
  const held = bed.add("h", 1, "held");
  const behind = Array.from({ length: 3000 }, () => bed.add("b", 1));
  bed.add("o", 2);
  for (const waiter of behind.slice(0, 2000)) waiter.waiting = false;
  assertEquals(bed.serve(), { asked: "ho", short: false });
  assertEquals(bed.queue.size, 1001);
  held.answer = "served";
  const { asked, short } = bed.serve();
  assertFalse(short);
  assert(asked.startsWith("hb"));
  assertEquals([asked.length, bed.queue.size], [1001, 0]);
});
