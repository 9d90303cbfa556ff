// Hashes, signatures and HPKE of the ledger's protocol, written from docs/ledger-protocol.md and
// RFC 9180 on Node's own cryptography. Suite 1 only: Node has no ML-KEM. Everything is a Buffer.
import crypto from 'node:crypto'

export class Refused extends Error {}
export const refuse = (reason) => { throw new Refused(reason) }

export const cat = (...parts) => Buffer.concat(parts.map((p) => Buffer.from(p)))
export const int = (v, n) => {
  const b = Buffer.alloc(n)
  let x = BigInt(v)
  for (let i = n - 1; i >= 0; i--, x >>= 8n) b[i] = Number(x & 0xffn)
  return b
}
export const u16 = (v) => int(v, 2)
export const u32 = (v) => int(v, 4)
export const u64 = (v) => int(v, 8)
export const lv = (b) => cat(u32(b.length), b)
export const H = (...parts) => crypto.createHash('sha256').update(cat(...parts)).digest()
export const MAC = (key, ...parts) => crypto.createHmac('sha256', key).update(cat(...parts)).digest()
export const NAME = (name, ...items) => cat(lv(Buffer.from('hitoku-ledger/1')), lv(Buffer.from(name)), ...items.map((i) => lv(Buffer.from(i))))

export const extract = (salt, ikm) => MAC(salt, ikm)
const expandTo = (prk, info, n) => {
  let out = Buffer.alloc(0)
  for (let t = Buffer.alloc(0), i = 1; out.length < n; i++) {
    t = MAC(prk, t, info, [i])
    out = cat(out, t)
  }
  return out.subarray(0, n)
}
export const Ex = (k, info) => expandTo(k, info, 32)

const gcm = 'aes-256-gcm'
export const sealGCM = (key, nonce, plain, aad) => {
  const c = crypto.createCipheriv(gcm, key, nonce).setAAD(aad)
  return cat(c.update(plain), c.final(), c.getAuthTag())
}
export const openGCM = (key, nonce, sealed, aad) => {
  if (sealed.length < 16) refuse('no tag')
  const d = crypto.createDecipheriv(gcm, key, nonce).setAAD(aad).setAuthTag(sealed.subarray(-16))
  const out = d.update(sealed.subarray(0, -16))
  try { d.final() } catch { refuse('the tag does not hold') }
  return out
}

const der = (prefix, raw, make, type) => make({ key: cat(Buffer.from(prefix, 'hex'), raw), format: 'der', type })
const spki = (oid, raw) => der(`302a300506032b65${oid}032100`, raw, crypto.createPublicKey, 'spki')
const pkcs8 = (oid, raw) => der(`302e020100300506032b65${oid}04220420`, raw, crypto.createPrivateKey, 'pkcs8')
const rawPublic = (key) => crypto.createPublicKey(key).export({ format: 'der', type: 'spki' }).subarray(-32)

const prime = 2n ** 255n - 19n
const eight = BigInt('0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826')
const small = [0n, 1n, prime - 1n, eight, prime - eight]

/** goodKey says whether an Ed25519 public key is canonical and not of small order (section 1). */
export const goodKey = (key) => {
  const big = Buffer.from(key).reverse()
  big[0] &= 0x7f
  const y = BigInt('0x' + big.toString('hex'))
  return y < prime && !small.includes(y)
}
const seen = new Map() // a receipt with one byte changed keeps most of its signatures
export const verifyEd25519 = (key, message, signature) => {
  const id = H(lv(key), lv(message), signature).toString('hex')
  if (!seen.has(id)) seen.set(id, goodKey(key) && signature.length === 64 && crypto.verify(null, message, spki('70', key), signature))
  return seen.get(id)
}
export const signEd25519 = (seed, message) => crypto.sign(null, message, pkcs8('70', seed))
export const publicEd25519 = (seed) => rawPublic(pkcs8('70', seed))

const order256 = BigInt('0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551')
export const verifyP256 = (key, message, signature) => {
  if (BigInt('0x' + signature.subarray(32).toString('hex')) > order256 / 2n) return false
  try {
    const point = crypto.ECDH.convertKey(key, 'prime256v1', undefined, undefined, 'uncompressed')
    const jwk = { kty: 'EC', crv: 'P-256', x: point.subarray(1, 33).toString('base64url'), y: point.subarray(33).toString('base64url') }
    return crypto.verify('sha256', message, { key: crypto.createPublicKey({ key: jwk, format: 'jwk' }), dsaEncoding: 'ieee-p1363' }, signature)
  } catch { return false } // no point of the curve
}

export const x25519 = (secret, point) => {
  try {
    const out = crypto.diffieHellman({ privateKey: pkcs8('6e', secret), publicKey: spki('6e', point) })
    return out.equals(Buffer.alloc(32)) ? refuse('point of small order') : out
  } catch { return refuse('point of small order') }
}
export const publicX25519 = (secret) => rawPublic(pkcs8('6e', secret))

const version = Buffer.from('HPKE-v1')
const kemID = cat(Buffer.from('KEM'), u16(0x20))
const suiteID = cat(Buffer.from('HPKE'), u16(0x20), u16(1), u16(2))
const labeledExtract = (id, salt, label, ikm) => extract(salt, cat(version, id, Buffer.from(label), ikm))
const labeledExpand = (id, prk, label, info, n) => expandTo(prk, cat(u16(n), version, id, Buffer.from(label), info), n)
const none = Buffer.alloc(0)

const context = (dh, enc, publicKey, info) => {
  const shared = labeledExpand(kemID, labeledExtract(kemID, none, 'eae_prk', dh), 'shared_secret', cat(enc, publicKey), 32)
  const ctx = cat([0], labeledExtract(suiteID, none, 'psk_id_hash', none), labeledExtract(suiteID, none, 'info_hash', info))
  const secret = labeledExtract(suiteID, shared, 'secret', none)
  const key = labeledExpand(suiteID, secret, 'key', ctx, 32)
  const nonce = labeledExpand(suiteID, secret, 'base_nonce', ctx, 12)
  const exporter = labeledExpand(suiteID, secret, 'exp', ctx, 32)
  return {
    enc,
    seal: (aad, plain) => sealGCM(key, nonce, plain, aad), // one message a context
    open: (aad, sealed) => openGCM(key, nonce, sealed, aad),
    exportSecret: (what) => labeledExpand(suiteID, exporter, 'sec', Buffer.from(what), 32),
  }
}
/** hpkeSender starts a context to a public key; ephemeral is 32 random bytes. */
export const hpkeSender = (publicKey, info, ephemeral = crypto.randomBytes(32)) => context(x25519(ephemeral, publicKey), publicX25519(ephemeral), publicKey, info)
export const hpkeRecipient = (enc, secret, info) => enc.length === 32 ? context(x25519(secret, enc), enc, publicX25519(secret), info) : refuse('encapsulated key of another length')
