// Compiles the contracts with the solc of node_modules; usage: node compile.js FOLDER, where the outcome goes.
// It reads no network and gives the same bytes on every machine: no metadata hash, fixed names of sources.
const fs = require("fs");
const path = require("path");
const solc = require("solc");

const out = process.argv[2];
const sources = {};
for (const [name, file] of [["Order.sol", "Order.sol"], ["Factory.sol", "Factory.sol"], ["Token.sol", "../test/bench/erc20/Token.sol"]]) {
	sources[name] = { content: fs.readFileSync(path.join(__dirname, file), "utf8") };
}
const result = JSON.parse(
	solc.compile(
		JSON.stringify({
			language: "Solidity",
			sources,
			settings: {
				// Nothing of London itself is used (no BASEFEE), so the bytes run on Berlin (GoQuorum) and all later forks.
				evmVersion: "london",
				optimizer: { enabled: true, runs: 100000 },
				metadata: { bytecodeHash: "none", appendCBOR: false },
				outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.methodIdentifiers", "storageLayout"] } },
			},
		}),
	),
);
for (const e of result.errors || []) console.error(e.formattedMessage);
if ((result.errors || []).length > 0) process.exit(1);
fs.mkdirSync(out, { recursive: true });
for (const [file, name] of [["Order.sol", "Order"], ["Factory.sol", "Factory"], ["Token.sol", "Token"]]) {
	const c = result.contracts[file][name];
	fs.writeFileSync(path.join(out, name + ".abi"), JSON.stringify(c.abi, null, 1) + "\n");
	fs.writeFileSync(path.join(out, name + ".bin"), c.evm.bytecode.object + "\n");
}
if (process.argv[3] === "layout") console.log(JSON.stringify(result.contracts["Order.sol"].Order.storageLayout.storage.map((v) => [v.label, v.slot, v.offset])), result.contracts["Order.sol"].Order.evm.methodIdentifiers);
