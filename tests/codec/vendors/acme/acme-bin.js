// A made-up bin sensor: tagged values. Written for Écluse's tests, in the way of vendors' codecs.
var tilted = ["upright", "tilted"];

function decodeUplink(input) {
  var data = {}, bytes = input.bytes, warnings = [];
  console.log("port", input.fPort);
  for (var at = 0; at < bytes.length; ) {
    var tag = bytes[at++];
    if (tag === 0x01) {
      data.battery = bytes[at++];
      if (data.battery < 10) warnings.push("battery is low");
    } else if (tag === 0x02) {
      data.distance = (bytes[at] << 8) | bytes[at + 1];
      at += 2;
    } else if (tag === 0x03) {
      data.temperature = (((bytes[at] << 8) | bytes[at + 1]) << 16 >> 16) / 10;
      at += 2;
    } else if (tag === 0x04) {
      data.position = tilted[bytes[at++]];
    } else {
      return { errors: ["unknown tag " + tag] };
    }
  }
  if (input.variables.depth) data.fill = 1 - data.distance / Number(input.variables.depth);
  return { data: data, warnings: warnings };
}

function normalizeUplink(input) {
  return { data: { air: { temperature: input.data.temperature }, distance: input.data.distance } };
}
