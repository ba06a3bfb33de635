// Sends each line of a file as a text message and prints the receipts: feed.js URL FILE
const fs = require('fs');
const WebSocket = require('ws');

const WINDOW = 512;
const [url, path] = process.argv.slice(2);
const lines = fs.readFileSync(path, 'utf8').split('\n').slice(0, -1);
const socket = new WebSocket(url);
const receipts = [];
let sent = 0;

function fill() {
  while (sent < lines.length && sent - receipts.length < WINDOW) socket.send(lines[sent++]);
}

socket.on('open', fill);
socket.on('message', (receipt) => {
  receipts.push(receipt.toString());
  if (receipts.length < lines.length) return fill();
  process.stdout.write(receipts.join('\n') + '\n');
  socket.close();
});
socket.on('error', (why) => { throw why; });
socket.on('close', () => {
  if (receipts.length < lines.length) throw new Error(`closed after ${receipts.length} of ${lines.length} receipts`);
});
