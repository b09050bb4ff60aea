import { assertEquals } from "@std/assert";
import { isOfSystem, layersOf } from "../../../src/device/system.ts";

Deno.test("the mount points of the system are known, others are not", () => {
  for (const point of ["/", "/usr", "/var", "/boot", "/boot/efi", "/efi", "/etc/hosts", "/run/live/medium"]) {
    assertEquals(isOfSystem(point), true, point);
  }
  for (const point of ["/mnt", "/home", "/bootstrap", "/var/lib/data", "/usr/local/x", "/media/usb"]) {
    assertEquals(isOfSystem(point), false, point);
  }
});

Deno.test("the layers of an overlay are read from its options, escapes undone", () => {
  const options = "rw,lowerdir=/a:/b\\:c:/d\\,e,upperdir=/up,workdir=/work,index=off";
  assertEquals(layersOf(options), ["/a", "/b:c", "/d,e", "/up"]);
  assertEquals(layersOf("ro,lowerdir+=/a,lowerdir+=/b,datadir+=/data"), ["/a", "/b", "/data"]);
  assertEquals(layersOf("lowerdir=/low::/data"), ["/low", "/data"]);
  assertEquals(layersOf("rw,size=4k,notlowerdir=/a"), []);
});
