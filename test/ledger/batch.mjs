// Commands as they stand in a batch (section 5): without the ledger's id and what follows from others.
import { cat, refuse, u32 } from './primitives.mjs'
import { decode, encode } from './wire.mjs'

const signatureLength = (scheme) => scheme === 0 ? 0 : 64
const varint = (v) => {
  const out = []
  for (v = BigInt(v); v >= 128n; v >>= 7n) out.push(Number(v & 127n) | 128)
  return Buffer.from([...out, Number(v)])
}
const counted = (b) => cat(varint(b.length), b)
// In latin1 a character is a byte.
const runs = /(?<![0-9a-f])(?:[0-9a-f]{2}){8,}/g

const packArguments = (a) => {
  if (a.length === 0) return varint(0)
  const out = [varint(a.length)]
  let done = 0
  for (const m of a.toString('latin1').matchAll(runs)) {
    out.push(counted(a.subarray(done, m.index)), counted(Buffer.from(m[0], 'hex')))
    done = m.index + m[0].length
  }
  if (done < a.length) out.push(counted(a.subarray(done)))
  return cat(...out)
}

const pack = (ledger, signed) => {
  const { Body, Signature } = decode('signed', signed)
  const c = decode('command', Body)
  if (!c.Ledger.equals(ledger) || Signature.length !== signatureLength(c.Scheme)) refuse('no command of this ledger')
  return cat([c.Scheme], c.Key, varint(c.Nonce), varint(c.ExpiresAt), counted(Buffer.from(c.Application)), counted(Buffer.from(c.Name)), packArguments(c.Arguments), Signature)
}

class Reader {
  constructor (b) { this.b = b }
  take (n) {
    if (n > this.b.length) refuse(`${this.b.length} bytes left, wanted ${n}`)
    const out = this.b.subarray(0, n)
    this.b = this.b.subarray(n)
    return out
  }

  number (limit) {
    let v = 0n
    for (let shift = 0n; ; shift += 7n) {
      const c = this.take(1)[0]
      v |= BigInt(c & 127) << shift
      if (v > limit || shift > 63n) refuse('a number above its limit')
      if (c < 128) return v
    }
  }

  counted (limit) { return this.take(Number(this.number(BigInt(limit)))) }

  arguments () {
    const n = Number(this.number(32n * 1024n))
    let out = Buffer.alloc(0)
    while (out.length < n) {
      out = cat(out, this.counted(n - out.length))
      if (out.length < n) out = cat(out, Buffer.from(this.counted((n - out.length) >> 1).toString('hex')))
    }
    return out
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const text = (b) => { try { return utf8.decode(b) } catch { return refuse('not UTF-8') } }

const unpack = (ledger, r) => {
  const start = r.b
  const c = { Ledger: ledger, Scheme: r.take(1)[0] }
  if (c.Scheme > 2) refuse('scheme not known')
  c.Key = r.take([20, 32, 33][c.Scheme])
  c.Nonce = r.number(2n ** 64n - 1n)
  c.ExpiresAt = r.number(2n ** 64n - 1n)
  c.Application = text(r.counted(64))
  c.Name = text(r.counted(64))
  c.Arguments = r.arguments()
  const signed = encode('signed', { Body: encode('command', c), Signature: r.take(signatureLength(c.Scheme)) })
  if (!pack(ledger, signed).equals(start.subarray(0, start.length - r.b.length))) refuse('not in its one form')
  return signed
}

export const writeBatch = (ledger, items) => cat(u32(items.length), ...items.map((i) => pack(ledger, i)))
export const readBatch = (ledger, b) => {
  const r = new Reader(b)
  const n = r.take(4).readUInt32BE()
  if (n > 1024) refuse(`${n} commands`)
  const out = []
  for (let i = 0; i < n; i++) out.push(unpack(ledger, r))
  return r.b.length === 0 ? out : refuse(`${r.b.length} bytes after the end`)
}
