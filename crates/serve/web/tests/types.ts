// The types of haul.js: this file compiles, and each `@ts-expect-error` is one.

import * as haul from "../haul.js";
import { connect, decode, decodeNote, encode, encodeNote, newId, HaulError, Packet, PROTOCOL } from "../haul.js";

// All that the module has is typed, and all that is typed is there: frames.test.js has the same list.
const all: Record<keyof typeof haul, unknown> = { PROTOCOL, HaulError, Packet, newId, connect, encode, decode, encodeNote, decodeNote };

async function uses(): Promise<void> {
    const connection: haul.Connection = await connect("/live", {
        session: { idle: 1000, attempts: 3 }, adaptive: { headStart: 100 }, protocols: ["wt", "sse"], token: "t",
        certificateHashes: [], timeout: 1, maxPacket: 1, sendBuffer: 1, sendPackets: 1, maxWaiting: 1, maxUnanswered: 1,
        receiveBuffer: 1, closeDeadline: 1,
    });
    await connect([new URL("ws://a"), "wt://a"]);
    connection.onstate = (state) => {
        if (state.name === "reconnecting") console.log(state.attempt, state.error.kind);
        // @ts-expect-error: only a failure has an error
        if (state.name === "connected") console.log(state.error);
    };
    connection.ongap = (gap) => console.log(gap.from, gap.oursMaybeLost);
    await connection.send(new Uint8Array(1), { metadata: { a: "1" }, id: newId() });
    const receipt: haul.Receipt = await connection.deliver({ a: 1 });
    const trip: number = await connection.ping();
    for await (const packet of connection) console.log(packet.text(), packet.json(), packet.id, receipt.level, trip);
    const { code, unsettled }: haul.Closed = await connection.close(3000, "done");
    const frame = decode(encode({ type: "packet", packet: Packet.of("x"), receipt: false }));
    if (frame.type === "packet") console.log(frame.packet.metadata, code, unsettled, encodeNote(decodeNote("ack 1")));
    // @ts-expect-error: there is no such protocol
    await connect("/live", { protocols: ["ftp"] });
    // @ts-expect-error: there is no such option
    await connect("/live", { tiemout: 1 });
    // @ts-expect-error: metadata is text
    await connection.send("x", { metadata: { a: 1 } });
}

void all;
void uses;
