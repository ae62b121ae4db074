// A made-up water meter. Written for Écluse's tests, in the way of driver packages: Buffer, exports, data as such.
const { Buffer: Bytes } = require("buffer");

const decode = (input) => {
  if (input.fPort !== 100) throw new Error("wrong port");
  const bytes = Bytes.from(input.bytes);
  const from = 1000 * bytes.readUIntLE(0, 4);
  return {
    time: new Date(from).toISOString(),
    volume: Buffer.from(input.bytes).readUInt32LE(4),
    flow: Math.fround(bytes.readFloatBE(8)),
  };
};

exports.decodeUplink = decode;
