/** The set of requests under way. */

import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { Request } from "../../../src/request/request.ts";
import { RequestSet } from "../../../src/request/request_set.ts";

Deno.test("the set holds what was added and not taken out, whatever the order", () => {
  fc.assert(fc.property(fc.array(fc.nat(9)), (draws) => {
    const set = new RequestSet();
    const requests = Array.from({ length: 10 }, () => new Request());
    const model = new Set<Request>();
    for (const draw of draws) {
      const request = requests[draw]!;
      if (model.delete(request)) {
        set.delete(request);
      } else {
        set.add(request);
        model.add(request);
      }
      assertEquals(set.size, model.size);
      assertEquals(new Set(set).difference(model).size, 0);
    }
  }));
});

Deno.test("a walk over the set meets each request once, though they are taken out and added meanwhile", () => {
  const set = new RequestSet();
  const requests = Array.from({ length: 5 }, () => new Request());
  for (const request of requests) set.add(request);
  const met: number[] = [];
  for (const request of set) {
    met.push(requests.indexOf(request));
    set.delete(request);
    set.add(new Request());
  }
  assertEquals([met, set.size], [[0, 1, 2, 3, 4], 5]);
});
