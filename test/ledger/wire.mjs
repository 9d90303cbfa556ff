// The structures of docs/ledger-protocol.md as readers and writers. A reader refuses every encoding
// but the one valid one. Integers of 64 bits are BigInt, bytes are Buffers.
import { cat, goodKey, int, refuse } from './primitives.mjs'

class Reader {
  constructor (b) { this.b = b }
  take (n) {
    if (n > this.b.length) refuse(`${this.b.length} bytes left, wanted ${n}`)
    const out = this.b.subarray(0, n)
    this.b = this.b.subarray(n)
    return out
  }
}

const number = (n) => ({ read: (r) => r.take(n).readUIntBE(0, n), write: (v) => int(v, n) })
export const u8 = number(1); export const u16 = number(2); export const u32 = number(4)
export const u64 = { read: (r) => r.take(8).readBigUInt64BE(), write: (v) => int(v, 8) }
const only = (codec, good, what) => ({ read: (r) => { const v = codec.read(r); return good(v) ? v : refuse(what) }, write: codec.write })
const oneOf = (...values) => only(u8, (v) => values.includes(v), 'value not known')
const flags = (mask) => only(u8, (v) => (v & ~mask) === 0, 'flag not known')
const bytes = (n) => ({ read: (r) => r.take(n), write: (v) => v })
export const b32 = bytes(32)
const b64 = bytes(64)
export const lv = (limit, least = 0) => ({
  read: (r) => { const n = u32.read(r); return n > limit || n < least ? refuse(`${n} bytes`) : r.take(n) },
  write: (v) => cat(u32.write(v.length), v),
})
const text = (limit) => ({
  read: (r) => {
    try { return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(lv(limit).read(r)) } catch (e) { return refuse('not UTF-8') }
  },
  write: (v) => lv(limit).write(Buffer.from(v)),
})
const name = text(64)
const list = (limit, item, rises) => ({
  read: (r) => {
    const n = u32.read(r)
    if (n > limit) refuse(`${n} items`)
    const out = []
    for (let i = 0; i < n; i++) {
      out.push(item.read(r))
      if (rises && i > 0 && rises(out[i - 1], out[i]) >= 0) refuse('a list does not ascend')
    }
    return out
  },
  write: (v) => cat(u32.write(v.length), ...v.map(item.write)),
})
const byBytes = (a, b) => Buffer.compare(a, b)
const by = (field) => (a, b) => a[field] - b[field]
const constant = (v) => oneOf(v)
/** struct reads fields in order. A field named '' has one value only. check judges the whole. */
const struct = (fields, check) => ({
  read: (r) => {
    const out = {}
    for (const [field, codec] of fields) { const v = codec.read(r); if (field) out[field] = v }
    if (check) check(out)
    return out
  },
  write: (v) => cat(...fields.map(([field, codec, value]) => codec.write(field ? v[field] : value))),
})
const power = (n, limit) => n >= 1024 && n <= limit && (n & (n - 1)) === 0 || refuse('size is no power of two, or not allowed')
const publicKey = only(b32, goodKey, 'not a proper Ed25519 key')

const KiB = 1024
const record = 128 * KiB
const signedLimit = 32 * KiB + 512
const hpke = lv(2048)

const adminSignatures = list(16, struct([['Index', u8], ['Signature', b64]]), by('Index'))
const order = struct([['Driver', oneOf(1, 2)], ['ChainID', u64], ['Contract', bytes(20)], ['Finality', oneOf(1, 2, 3)], ['Confirmations', u32], ['Endpoints', u8], ['Validators', list(256, bytes(20), byBytes)]])
const genesis = struct([
  ['', constant(1), 1], ['Suite', oneOf(1, 2)], ['Name', name], ['Applications', list(64, struct([['Name', name], ['Version', name]]))],
  ['Window', u64], ['AnchorAge', u64], ['PolicyDelay', u64], ['Rotation', u64], ['EntryMax', u32], ['CheckpointEvery', u32], ['Flags', flags(1)],
  ['Order', order], ['PolicyBytes', lv(256 * KiB)],
])
const policy = struct([
  ['Ledger', b32], ['Version', u64], ['Previous', b32], ['ActiveFrom', u64],
  ['Programs', list(256, struct([['Measurement', lv(64, 32)], ['Signer', lv(64)], ['MinSVN', u16]]))],
  ['TCBStatuses', list(16, name)], ['MinEvaluation', u32], ['Roots', list(16, b32, byBytes)], ['Flags', flags(3)], ['EvidenceAge', u64],
  ['Threshold', u8], ['Admins', list(16, publicKey, byBytes)], ['Slots', list(256, struct([['Slot', u16], ['Kind', oneOf(1, 2)], ['Operator', publicKey]]), by('Slot'))],
], (p) => p.Threshold >= 1 && p.Threshold <= p.Admins.length || refuse('m is not from 1 to the number of administrators'))
const header = struct([
  ['Type', oneOf(1, 2, 3, 4, 5, 6, 7)], ['Ledger', b32], ['Epoch', u64], ['Incarnation', b32], ['N', u64], ['PrevOwn', b32], ['Anchor', u64], ['AnchorChain', b32],
])
const member = (...rest) => struct([['Slot', u16], ...rest])
export const adds = list(256, member(['Incarnation', b32], ['JoinPosition', u64], ['Released', u64]), by('Slot'))
export const removes = list(256, member(['Incarnation', b32], ['Reason', oneOf(1, 2, 3, 4, 5, 6)], ['Position', u64]), by('Slot'))
const core = struct([
  ['Epoch', u64], ['Previous', b32], ['PolicyVersion', u64], ['Time', u64], ['Adds', adds], ['Removes', removes], ['Keys', list(256, member(['Position', u64]), by('Slot'))],
])
export const wrap = member(['Enc', hpke], ['CT', lv(8 * KiB)])
const checkpoint = struct([['Position', u64], ['Chain', b32], ['Digest', b32], ['Outcomes', b32], ['Epoch', b32]])
const keyLength = (v) => v.Key.length === [20, 32, 33][v.Scheme] || refuse('key of another length')
const command = struct([
  ['', constant(1), 1], ['Ledger', b32], ['Application', name], ['Scheme', oneOf(0, 1, 2)], ['Key', lv(33)], ['Nonce', u64], ['ExpiresAt', u64], ['Name', name], ['Arguments', lv(32 * KiB)],
], keyLength)
const query = struct([
  ['Kind', oneOf(2, 3, 4, 5)], ['Ledger', b32], ['Application', name], ['Scheme', oneOf(0, 1, 2)], ['Key', lv(33)], ['ID', bytes(16)], ['NotAfter', u64], ['Name', name], ['Arguments', lv(32 * KiB)],
], keyLength)
const outcome = struct([['Code', u16], ['Message', text(1024)], ['Result', lv(64 * KiB)]])
const result = struct([['Status', oneOf(1, 2, 3, 4, 5)], ['Outcome', outcome], ['Position', u64], ['Index', u32], ['Count', u32], ['Blind', b32], ['Proof', list(64, b32)]])
const items = list(1024, lv(signedLimit))

/** structures are the codecs by their names in the vectors: [codec, longest encoding]. */
const structures = {
  genesis: [genesis, 256 * KiB],
  'genesis file': [struct([['Genesis', lv(256 * KiB)], ['Signatures', adminSignatures]]), 256 * KiB],
  policy: [policy, 256 * KiB],
  POLICY: [struct([['Policy', lv(record)], ['Signatures', adminSignatures]]), record],
  header: [header, 153],
  record: [struct([['Header', header], ['Body', lv(record)], ['Signature', b64]]), record],
  JOIN: [struct([
    ['Slot', u16], ['Key', publicKey], ['HPKE', hpke], ['PolicyVersion', u64], ['FileEpoch', u64], ['Evidence', lv(record)], ['Binding', lv(record)], ['Collateral', lv(record)], ['OperatorSig', b64],
  ]), record],
  core: [core, record],
  COMMIT: [struct([['CoreBytes', lv(record)], ['Approvals', adminSignatures], ['Commitment', b32], ['Wraps', list(256, wrap, by('Slot'))]]), record],
  ACK: [struct([['Epoch', u64], ['HPKE', hpke]]), record],
  DATA: [struct([['Salt', b32], ['CT', lv(record)]]), record],
  ALARM: [struct([['Epoch', u64], ['Slot', u16]]), record],
  checkpoint: [checkpoint, 136],
  CHECKPOINT: [struct([['Checkpoint', checkpoint], ['Signature', b64]]), 200],
  command: [command, signedLimit],
  query: [query, signedLimit],
  signed: [struct([['Body', lv(signedLimit)], ['Signature', lv(64)]]), signedLimit],
  outcome: [outcome, 66 * KiB],
  KeyInfo: [struct([['Ledger', b32], ['Slot', u16], ['Incarnation', b32], ['Key', publicKey], ['RequestKey', hpke], ['NotAfter', u64], ['Position', u64], ['Chain', b32]]), 4 * KiB],
  request: [struct([
    ['', constant(1), 1], ['Kind', oneOf(1, 2)], ['KeyID', b32], ['NotAfter', u64], ['Bucket', u32], ['Enc', hpke], ['CT', lv(128 * KiB + 16)],
  ], (q) => power(q.Bucket, 128 * KiB) && (q.CT.length === q.Bucket + 16 || refuse('ct is not as long as the bucket'))), 132 * KiB],
  payload: [struct([
    ['FloorPosition', u64], ['FloorChain', b32], ['Mode', oneOf(0, 1)], ['ReplyBucket', u32], ['Items', items],
  ], (p) => power(p.ReplyBucket, KiB * KiB) && (p.Items.length > 0 || refuse('no item'))), 128 * KiB],
  reply: [struct([['Nonce', b32], ['CT', lv(KiB * KiB + 16)]], (p) => power(p.CT.length - 16, KiB * KiB)), KiB * KiB + 64],
  'reply body': [struct([['Position', u64], ['Chain', b32], ['Time', u64], ['Results', list(1024, result)]]), KiB * KiB],
  notification: [struct([['Position', u64], ['Index', u32], ['Application', name], ['Payload', lv(128 * KiB)]]), 128 * KiB],
  'sealed notification': [struct([['Enc', hpke], ['CT', lv(128 * KiB + 16)]], (n) => power(n.CT.length - 16, 128 * KiB)), 132 * KiB],
}

export const readAll = (codec, b, limit) => {
  if (b.length > limit) refuse(`${b.length} bytes`)
  const r = new Reader(b)
  const v = codec.read(r)
  return r.b.length === 0 ? v : refuse(`${r.b.length} bytes after the end`)
}
export const decode = (type, b) => readAll(structures[type][0], b, structures[type][1])
export const encode = (type, v) => structures[type][0].write(v)

/** pad writes lv(b) and zeros up to the smallest size, or to the one given. */
export const pad = (b, size) => {
  for (size ||= 1024; size < b.length + 4;) size *= 2
  return cat(u32.write(b.length), b, Buffer.alloc(size - 4 - b.length))
}
export const unpad = (b, limit) => {
  power(b.length, limit)
  const r = new Reader(b)
  const out = lv(limit).read(r)
  return r.b.every((c) => c === 0) ? out : refuse('padding is not zero')
}
