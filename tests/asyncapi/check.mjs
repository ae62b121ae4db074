// Reads an AsyncAPI document on standard input and prints what the AsyncAPI parser says of it:
// a line for each remark (severity 0 is an error, 1 a warning), then `valid VERSION` or `invalid`.
import { Parser } from '@asyncapi/parser';

let text = '';
for await (const part of process.stdin) text += part;
const { document, diagnostics } = await new Parser().parse(text);
for (const one of diagnostics) console.log(`${one.severity} ${one.code} ${one.path.join('.')}: ${one.message}`);
console.log(document ? `valid ${document.version()}` : 'invalid');
