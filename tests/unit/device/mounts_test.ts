import { assertEquals } from "@std/assert";
import { type Mount, mountAbove, parseMounts, parseSwaps } from "../../../src/device/mounts.ts";

Deno.test("a line of mountinfo is read with no, one and many optional fields", () => {
  const text = [
    "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard",
    "28 27 8:1 /sub /mnt rw shared:1 - xfs /dev/sda1 rw",
    "29 27 0:45 /@ /data rw shared:2 master:1 propagate_from:3 - btrfs /dev/sdb rw,subvol=/@",
    "",
  ].join("\n");
  assertEquals(parseMounts(text), [
    { number: "254:0", point: "/", type: "ext4", source: "/dev/vda", options: "rw,discard" },
    { number: "8:1", point: "/mnt", type: "xfs", source: "/dev/sda1", options: "rw" },
    { number: "0:45", point: "/data", type: "btrfs", source: "/dev/sdb", options: "rw,subvol=/@" },
  ]);
});

Deno.test("the octal escapes of mountinfo are undone, a backslash that begins none stays", () => {
  const [mount] = parseMounts("1 0 7:0 / /a\\040b\\011c\\012d\\134e\\x rw - ext4 /dev/a\\040b rw");
  assertEquals([mount?.point, mount?.source], ["/a b\tc\nd\\e\\x", "/dev/a b"]);
});

Deno.test("a line that is cut off is no mount", () => {
  assertEquals(parseMounts("1 0 7:0 /\n1 0 7:0 / /a rw shared:1\n\n"), []);
});

Deno.test("swap areas are read without the head of the table", () => {
  const text = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n" +
    "/dev/dm-1                               partition\t65532\t\t0\t\t-2\n" +
    "/a\\040file                              file\t\t65532\t\t0\t\t-3\n";
  assertEquals(parseSwaps(text), [{ path: "/dev/dm-1", isFile: false }, { path: "/a file", isFile: true }]);
  assertEquals(parseSwaps("Filename Type Size Used Priority\n"), []);
  assertEquals(parseSwaps(""), []);
});

Deno.test("the mount above a path is that of the longest mount point, the last of several", () => {
  const mounts = ["/", "/a", "/a/b", "/ab", "/a"].map((point, i): Mount => (
    { number: `8:${i}`, point, type: "ext4", source: "", options: "", devices: [`8:${i}`] }
  ));
  const above = (path: string) => mountAbove(mounts, path)?.number;
  assertEquals(["/x", "/a", "/a/x", "/abc", "/ab/x", "/a/b/c"].map(above), [
    "8:0",
    "8:4",
    "8:4",
    "8:0",
    "8:3",
    "8:2",
  ]);
  assertEquals(mountAbove([], "/x"), null);
});
