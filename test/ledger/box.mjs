// NaCl's crypto_box (X25519, XSalsa20, Poly1305), which requests in Anonify's form use; Node does not
// have it. For tests: it is slow, and does not run in constant time.
import { cat, refuse, x25519 } from './primitives.mjs'

const sigma = Buffer.from('expand 32-byte k')

// core is the Salsa20 core: 20 rounds over 16 words; add says whether the input is added at the end.
const core = (input, key, add) => {
  const x = new Uint32Array(16)
  const words = (b, at, to) => to.forEach((w, i) => { x[w] = b.readUInt32LE(at + 4 * i) })
  words(sigma, 0, [0, 5, 10, 15])
  words(key, 0, [1, 2, 3, 4])
  words(input, 0, [6, 7, 8, 9])
  words(key, 16, [11, 12, 13, 14])
  const start = x.slice()
  const turn = (to, a, b, n) => { const s = (x[a] + x[b]) >>> 0; x[to] ^= (s << n) | (s >>> (32 - n)) }
  const quarter = (a, b, c, d) => { turn(b, a, d, 7); turn(c, b, a, 9); turn(d, c, b, 13); turn(a, d, c, 18) }
  for (let i = 0; i < 10; i++) {
    quarter(0, 4, 8, 12); quarter(5, 9, 13, 1); quarter(10, 14, 2, 6); quarter(15, 3, 7, 11)
    quarter(0, 1, 2, 3); quarter(5, 6, 7, 4); quarter(10, 11, 8, 9); quarter(15, 12, 13, 14)
  }
  const pick = add ? [...x.keys()] : [0, 5, 10, 15, 6, 7, 8, 9]
  const out = Buffer.alloc(4 * pick.length)
  pick.forEach((w, i) => out.writeUInt32LE(add ? (x[w] + start[w]) >>> 0 : x[w], 4 * i))
  return out
}

const stream = (key, nonce, n) => {
  const sub = core(nonce.subarray(0, 16), key, false)
  const blocks = []
  for (let i = 0; 64 * i < n; i++) {
    const counter = Buffer.alloc(8)
    counter.writeUInt32LE(i)
    blocks.push(core(cat(nonce.subarray(16), counter), sub, true))
  }
  return cat(...blocks).subarray(0, n)
}

const little = (b) => BigInt('0x' + (Buffer.from(b).reverse().toString('hex') || '0'))

const poly1305 = (key, message) => {
  const r = little(key.subarray(0, 16)) & 0x0ffffffc0ffffffc0ffffffc0fffffffn
  let sum = 0n
  for (let i = 0; i < message.length; i += 16) sum = (sum + little(cat(message.subarray(i, i + 16), [1]))) * r % (2n ** 130n - 5n)
  const tag = (sum + little(key.subarray(16))) % 2n ** 128n
  return Buffer.from(tag.toString(16).padStart(32, '0'), 'hex').reverse()
}

/** boxKey is the key that both ends share. */
export const boxKey = (secret, point) => core(Buffer.alloc(16), x25519(secret, point), false)

export const openBox = (key, nonce, sealed) => {
  const pad = stream(key, nonce, 32 + sealed.length - 16)
  const text = sealed.subarray(16)
  if (!poly1305(pad.subarray(0, 32), text).equals(sealed.subarray(0, 16))) refuse('the box does not open')
  return text.map((b, i) => b ^ pad[32 + i])
}
