// Runs a script under MicroPython's WebAssembly build, with real file descriptors as its UART, pins and socket.
// node micropython.mjs <micropython.mjs> <json: {folders: {"/smp": "host path"}, script, argv}>
import fs from "node:fs";
import path from "node:path";

const { loadMicroPython } = await import(process.argv[2]);
const wish = JSON.parse(process.argv[3]);
const mp = await loadMicroPython({
  heapsize: 4 << 20, pystack: 8192, linebuffer: true, stdout: (line) => console.log(line),
});
const nap = new Int32Array(new SharedArrayBuffer(4));
const quietly = (act) => {
  try { return act(); } catch (error) { if (error.code === "EAGAIN") return -1; throw error; }
};
mp.registerJsModule("_hostio", {
  open: (name) => fs.openSync(name, fs.constants.O_RDWR | fs.constants.O_NOCTTY | fs.constants.O_NONBLOCK),
  read: (fd, address, size) => quietly(() => fs.readSync(fd, mp._module.HEAPU8, address, size, null)),
  write: (fd, address, size) => quietly(() => fs.writeSync(fd, mp._module.HEAPU8, address, size)),
  sleep: (ms) => { Atomics.wait(nap, 0, 0, ms); },
});
for (const [inside, outside] of Object.entries(wish.folders)) {
  if (inside !== "/") mp.FS.mkdir(inside);
  for (const name of fs.readdirSync(outside)) {
    if (name.endsWith(".py")) mp.FS.writeFile(path.join(inside, name), fs.readFileSync(path.join(outside, name)));
  }
}
mp.FS.writeFile("/places.py", `WORDS = ${JSON.stringify(wish.argv)}\n`);
const paths = ["/", ...Object.keys(wish.folders)];
mp.runPython(`import sys\nfor path in ${JSON.stringify(paths)}:\n    sys.path.insert(0, path)\n`);
try {
  mp.runPython(fs.readFileSync(wish.script, "utf8"));
} catch (error) {
  fs.writeSync(2, `${error.message}\n`);
  process.exit(1);
}
