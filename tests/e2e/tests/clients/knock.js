// Sends a text from a page of ORIGIN with TOKEN as a subprotocol, and prints its receipt or the status that refused it:
// knock.js URL ORIGIN TOKEN
const WebSocket = require('ws');

const [url, origin, token] = process.argv.slice(2);
const socket = new WebSocket(url, [`bearer.${token}`], { origin });
socket.on('open', () => socket.send('from node'));
socket.on('message', (receipt) => {
  process.stdout.write(`${receipt}\n`);
  socket.close();
});
socket.on('unexpected-response', (request, response) => {
  process.stdout.write(`${response.statusCode}\n`);
  process.exit(0);
});
socket.on('error', (why) => { throw why; });
