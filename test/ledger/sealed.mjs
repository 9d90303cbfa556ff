// What the protocol seals and signs: epochs, DATA, wraps, requests, replies, notifications, commands.
import crypto from 'node:crypto'
import { cat, Ex, extract, H, hpkeRecipient, hpkeSender, MAC, NAME, openGCM, refuse, sealGCM, u16, u32, u64, verifyEd25519, verifyP256 } from './primitives.mjs'
import { decode, encode, pad, unpad } from './wire.mjs'
import { readBatch, writeBatch } from './batch.mjs'

const KiB = 1024

export const epoch = (previousInit, fresh, number) => {
  const secret = extract(previousInit, fresh)
  const part = (name) => Ex(secret, NAME('KEY', Buffer.from(name), u64(number)))
  return { secret, init: part('init'), log: part('log'), digest: part('digest'), snap: part('snap'), random: part('random') }
}
export const commitment = (t, s) => H(NAME('CM', t, s))
export const stateDigest = (digest, position, root) => MAC(digest, NAME('STATE', u64(position), root))
export const blind = (digest, position, index) => MAC(Ex(digest, NAME('BLIND')), u64(position), u32(index))
export const seed = (random, position) => MAC(random, NAME('RANDOM', u64(position)))

const dataKeys = (log, header) => {
  const k = Ex(log, NAME('SENDER', decode('header', header).Incarnation))
  return { salt: (m) => MAC(Ex(k, NAME('SALT')), NAME('DATA', header, m)), key: (salt) => Ex(k, NAME('ENTRY', salt)) }
}
const zero = Buffer.alloc(12)
export const sealData = (log, header, items) => {
  const k = dataKeys(log, header)
  const m = pad(writeBatch(decode('header', header).Ledger, items))
  const salt = k.salt(m)
  return encode('DATA', { Salt: salt, CT: sealGCM(k.key(salt), zero, m, cat(header, salt)) })
}
export const openData = (log, header, body) => {
  const { Salt, CT } = decode('DATA', body)
  const k = dataKeys(log, header)
  const m = openGCM(k.key(Salt), zero, CT, cat(header, Salt))
  if (!k.salt(m).equals(Salt)) refuse('the salt is not that of the content')
  return readBatch(decode('header', header).Ledger, unpad(m, 64 * KiB))
}

export const openWrap = (secret, publicKey, ledger, number, t, cm, { Slot, Enc, CT }) => {
  const info = NAME('WRAP', ledger, u64(number), t, u16(Slot), publicKey)
  const plain = hpkeRecipient(Enc, secret, info).open(cm, CT)
  const n = (plain.length - 72) / 96
  if (!Number.isInteger(n) || n < 0 || n > 64) refuse('a wrap of another length')
  const s = plain.subarray(0, 32)
  if (!commitment(t, s).equals(cm)) refuse('the secret is not the one of cm')
  const x = plain.readBigUInt64BE(32)
  if (n > 0 && (x === 0n || x + BigInt(n) > BigInt(number))) refuse('a wrap releases keys of no earlier epochs')
  return { secret: s, x, snap: plain.subarray(40, 72), tail: plain.subarray(72) }
}

const requestInfo = (ledger, iid, id) => NAME('REQ', ledger, iid, id)
const associated = (q) => cat([q.Kind], u64(q.NotAfter), u32(q.Bucket))

/** sealRequest seals a payload to the key of a KeyInfo; x opens the replies. */
export const sealRequest = (info, kind, notAfter, payload) => {
  const m = pad(encode('payload', payload))
  const q = { Kind: kind, KeyID: H(NAME('RK', info.RequestKey)), NotAfter: notAfter, Bucket: m.length }
  const c = hpkeSender(info.RequestKey, requestInfo(info.Ledger, info.Incarnation, q.KeyID))
  q.Enc = c.enc
  q.CT = c.seal(associated(q), m)
  return { request: encode('request', q), x: c.exportSecret('hitoku-ledger/1 reply') }
}
export const openRequest = (secret, publicKey, ledger, iid, request) => {
  const q = decode('request', request)
  if (!q.KeyID.equals(H(NAME('RK', publicKey)))) refuse('sealed to another key')
  const c = hpkeRecipient(q.Enc, secret, requestInfo(ledger, iid, q.KeyID))
  const payload = unpad(c.open(associated(q), q.CT), 128 * KiB)
  if (q.Kind === 2 && decode('payload', payload).Items.length !== 1) refuse('not one query')
  decode('payload', payload)
  return { payload, x: c.exportSecret('hitoku-ledger/1 reply') }
}
const replyKeys = (x, request, rn) => {
  const prk = extract(cat(decode('request', request).Enc, rn), x)
  return [Ex(prk, NAME('REPLYKEY')), Ex(prk, NAME('REPLYNONCE')).subarray(0, 12)]
}
export const openReply = (x, request, reply) => {
  const { Nonce, CT } = decode('reply', reply)
  const [key, nonce] = replyKeys(x, request, Nonce)
  const body = unpad(openGCM(key, nonce, CT, H(request)), KiB * KiB)
  decode('reply body', body)
  return body
}
/** sealReply is the node's side, for tests. */
export const sealReply = (x, request, body, bucket) => {
  const m = pad(body, bucket)
  const rn = MAC(Ex(x, NAME('RN')), crypto.randomBytes(32), m)
  const [key, nonce] = replyKeys(x, request, rn)
  return encode('reply', { Nonce: rn, CT: sealGCM(key, nonce, m, H(request)) })
}

export const openNotice = (secret, ledger, account, sealed) => {
  const { Enc, CT } = decode('sealed notification', sealed)
  const notice = unpad(hpkeRecipient(Enc, secret, NAME('NOTIFY', ledger, account)).open(Buffer.alloc(0), CT), 128 * KiB)
  decode('notification', notice)
  return notice
}

export const account = (scheme, key) => scheme === 0 ? cat(Buffer.alloc(12), key) : H(NAME('ACCOUNT', [scheme], key))

/** verifySigned says ok, malformed or signature of a SignedCommand or SignedQuery (kind). */
export const verifySigned = (kind, signed) => {
  const { Body, Signature } = decode('signed', signed)
  const v = decode(kind, Body)
  const message = NAME(kind.toUpperCase(), Body)
  if (Signature.length !== (v.Scheme === 0 ? 0 : 64)) refuse('signature of another length')
  const holds = v.Scheme === 0 || (v.Scheme === 1 ? verifyEd25519 : verifyP256)(v.Key, message, Signature)
  return { holds, account: account(v.Scheme, v.Key) }
}
