// esptool-js (npm) on a TCP socket instead of a browser's serial port: connect, write a file, read it back.
// node flash.mjs PORT ADDRESS FILE OUTPUT
import { createConnection } from "node:net";
import { readFileSync, writeFileSync } from "node:fs";
import { ESPLoader, Transport } from "esptool-js";

const [port, address, file, output] = process.argv.slice(2);
const socket = createConnection({ host: "127.0.0.1", port: Number(port), noDelay: true });
await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));

// What a Web Serial port offers, as far as esptool-js uses it.
const device = {
  readable: new ReadableStream({
    start(controller) {
      socket.on("data", (chunk) => controller.enqueue(new Uint8Array(chunk)));
      socket.on("close", () => { try { controller.close(); } catch { /* closed already */ } });
    },
  }),
  writable: new WritableStream({
    write: (chunk) => new Promise((resolve) => socket.write(Buffer.from(chunk), resolve)),
  }),
  open: async () => {},
  close: async () => {},
  setSignals: async () => {},
  getInfo: () => ({}),
};

const quiet = { clean() {}, writeLine(line) { console.error(line); }, write() {} };
const data = new Uint8Array(readFileSync(file));
const loader = new ESPLoader({ transport: new Transport(device, false), baudrate: 115200, terminal: quiet });
const chip = await loader.main("no_reset");
await loader.writeFlash({
  fileArray: [{ data, address: Number(address) }],
  flashSize: "keep", flashMode: "keep", flashFreq: "keep", eraseAll: false, compress: true,
});
const back = await loader.readFlash(Number(address), data.length);
writeFileSync(output, Buffer.from(back));
console.log(chip);
process.exit(0);
