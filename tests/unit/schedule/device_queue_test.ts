/** Device queues: a list in the order of its requests, of which any link can be taken out. */

import { assert, assertEquals, assertFalse } from "@std/assert";
import fc from "fast-check";
import { DeviceQueue, type Queued } from "../../../src/schedule/device_queue.ts";
import { deviceOf, RecordingEngine } from "../parts.ts";

class Link implements Queued<Link> {
  next: Link | null = null;
  constructor(readonly name: string) {}
}

function queueOf(names: string): { queue: DeviceQueue<Link>; links: Link[] } {
  const queue = new DeviceQueue<Link>(deviceOf(), new RecordingEngine(), 7, 0, () => {});
  const links = [...names].map((name) => new Link(name));
  for (const link of links) queue.push(link);
  return { queue, links };
}

function namesOf(queue: DeviceQueue<Link>): string {
  let names = "";
  for (let link = queue.head; link !== null; link = link.next) names += link.name;
  return names;
}

Deno.test("regions are shifted in the order in which they were pushed", () => {
  const { queue } = queueOf("abc");
  const seen: string[] = [];
  while (queue.head !== null) {
    seen.push(namesOf(queue));
    queue.shift();
  }
  assertEquals(seen, ["abc", "bc", "c"]);
});

Deno.test("a queue that became empty takes regions again, whichever way it did", () => {
  const { queue, links } = queueOf("a");
  queue.shift();
  queue.push(links[0]!);
  assertEquals(namesOf(queue), "a");
  assert(queue.remove(links[0]!));
  queue.push(new Link("b"));
  assertEquals(namesOf(queue), "b");
});

Deno.test("a region is removed from the head, the middle and the tail, and the next push comes last", () => {
  for (const [i, rest] of ["bcz", "acz", "abz"].entries()) {
    const { queue, links } = queueOf("abc");
    assert(queue.remove(links[i]!));
    assertEquals(links[i]!.next, null);
    queue.push(new Link("z"));
    assertEquals(namesOf(queue), rest);
  }
});

Deno.test("a region that is not in the queue is not removed", () => {
  const { queue, links } = queueOf("ab");
  assertFalse(queue.remove(new Link("c")));
  queue.remove(links[0]!);
  assertFalse(queue.remove(links[0]!));
  assertEquals(namesOf(queue), "b");
  assertFalse(queueOf("").queue.remove(links[0]!));
});

Deno.test("a queue does as a list does, for any order of pushes, shifts and removals", () => {
  const steps = fc.array(fc.record({ what: fc.constantFrom("push", "shift", "remove"), which: fc.nat(9) }));
  fc.assert(fc.property(steps, (steps) => {
    const { queue } = queueOf("");
    const model: Link[] = [];
    steps.forEach(({ what, which }, i) => {
      if (what === "push" || model.length === 0) {
        const link = new Link(String.fromCharCode(97 + i));
        model.push(link);
        queue.push(link);
      } else if (what === "shift") {
        model.shift();
        queue.shift();
      } else {
        const [link] = model.splice(which % model.length, 1);
        assert(queue.remove(link!));
      }
      assertEquals(namesOf(queue), model.map(({ name }) => name).join(""));
    });
  }));
});
