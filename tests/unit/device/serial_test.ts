import { assertEquals } from "@std/assert";
import { parseUnitSerialNumber } from "../../../src/device/serial.ts";

function page(text: string, length = text.length): Uint8Array {
  return new Uint8Array([0, 0x80, length >> 8, length & 0xff, ...new TextEncoder().encode(text)]);
}

Deno.test("a unit serial number is read without the spaces and NULs around it", () => {
  assertEquals(parseUnitSerialNumber(page("    WD-123 4  ")), "WD-123 4");
  assertEquals(parseUnitSerialNumber(page("S1\0\0\0")), "S1");
});

Deno.test("a unit serial number ends at its length, and may be empty or cut off", () => {
  assertEquals(parseUnitSerialNumber(page("12345", 3)), "123");
  assertEquals(parseUnitSerialNumber(page("12", 300)), "12");
  for (const bytes of [[], [0, 0x80], [0, 0x80, 0, 0]]) {
    assertEquals(parseUnitSerialNumber(new Uint8Array(bytes)), "");
  }
});
