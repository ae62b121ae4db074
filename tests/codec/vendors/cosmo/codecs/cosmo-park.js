// A made-up parking sensor. Written for Écluse's tests, in the older way of network servers.
function Decode(fPort, bytes, variables) {
  seen = bytes.length; // not declared: it must be gone with the next message
  return { occupied: bytes[0] === 1, zone: variables.zone || null, port: fPort };
}
