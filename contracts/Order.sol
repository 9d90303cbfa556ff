// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// @title Order puts the records of one ledger in order, and does nothing else.
/// @notice It chains the hash of every record. It does not know members, keys or measurements of the
/// ledger, holds no money, and cannot be upgraded or destroyed. What it says is not trusted: the ledger's
/// nodes compute the same chain.
///
/// Storage, which is proved to nodes by eth_getProof: slot 0 is the chain value, slot 1 is
/// changes u64 | time u64 | sequence number u64 in its low 192 bits.
contract Order {
    /// @notice The chain value C at the newest position; the ledger id before the first.
    bytes32 public head;
    /// @notice The number of records.
    uint64 public seq;
    /// @notice The time of the newest record in seconds since 1970.
    uint64 public time;
    /// @notice How often the allow-list was changed; the nonce of the next change.
    uint64 public changes;

    /// @notice Who may submit.
    mapping(address => bool) public allowed;
    /// @notice Whose signatures change who may submit.
    mapping(address => bool) public signer;
    /// The lowest n that may come next, by keccak256(submitter, sender).
    mapping(bytes32 => uint64) private expected;

    /// @notice How many signers a change needs.
    uint256 public immutable threshold;
    /// @notice The longest record in bytes.
    uint256 public immutable maxRecord;

    event Recorded(uint64 indexed seq, uint64 time, bytes32 sender, uint64 n, bytes record);
    event Allowed(address indexed submitter, bool allowed);

    error NotAllowed(address submitter);
    error Repeated(uint64 lowest);
    error Size(uint256 bytesOfRecord);
    error BadSignature(uint256 index);
    error BadArguments();

    /// @param ledger the ledger id, the chain value before the first record
    /// @param longest the longest record in bytes
    /// @param m how many of the signers change the allow-list
    /// @param signers their addresses, ascending
    /// @param submitters who may submit from the beginning
    constructor(bytes32 ledger, uint256 longest, uint256 m, address[] memory signers, address[] memory submitters) {
        if (m == 0 || m > signers.length || longest == 0 || longest > 1 << 24) revert BadArguments();
        head = ledger;
        threshold = m;
        maxRecord = longest;
        address last = address(0);
        for (uint256 i = 0; i < signers.length; i++) {
            if (signers[i] <= last) revert BadArguments();
            last = signers[i];
            signer[last] = true;
        }
        for (uint256 i = 0; i < submitters.length; i++) {
            allowed[submitters[i]] = true;
            emit Allowed(submitters[i], true);
        }
    }

    /// @notice Takes a record: chains it, and gives it back as an event.
    /// @param record 1 to maxRecord bytes
    /// @param sender the incarnation whose record it is
    /// @param n its number, from 0, higher than that of every earlier record of this sender by this submitter:
    /// nothing is taken twice. Gaps are allowed, so that a record that was lost on its way stops nobody.
    function submit(bytes calldata record, bytes32 sender, uint64 n) external {
        if (!allowed[msg.sender]) revert NotAllowed(msg.sender);
        if (record.length == 0 || record.length > maxRecord) revert Size(record.length);
        bytes32 key;
        assembly ("memory-safe") {
            mstore(0, caller())
            mstore(32, sender)
            key := keccak256(0, 64)
        }
        if (n < expected[key]) revert Repeated(expected[key]);
        expected[key] = n + 1;
        bytes32 topic = Recorded.selector;
        assembly ("memory-safe") {
            let word := sload(1)
            let position := add(and(word, 0xffffffffffffffff), 1)
            let t := and(timestamp(), 0xffffffffffffffff)
            // The event's data, straight from the calldata: time, sender, n, offset, length, record, zeros.
            let data := mload(0x40)
            mstore(data, t)
            mstore(add(data, 32), sender)
            mstore(add(data, 64), n)
            mstore(add(data, 96), 128)
            mstore(add(data, 128), record.length)
            let body := add(data, 160)
            let padded := and(add(record.length, 31), not(31))
            mstore(add(body, sub(padded, 32)), 0)
            calldatacopy(body, record.offset, record.length)
            // The record's hash, into the last place of the chain's preimage.
            let chain := add(body, padded)
            if iszero(staticcall(gas(), 2, body, record.length, add(chain, 92), 32)) { revert(0, 0) }
            // Each item follows its length in four bytes: "hitoku-ledger/1", "CHAIN", head, position, time, hash.
            mstore(chain, 0x0000000f6869746f6b752d6c65646765722f3100000005434841494e00000020)
            mstore(add(chain, 32), sload(0))
            let hash := mload(add(chain, 92))
            mstore(
                add(chain, 64),
                or(
                    or(or(shl(224, 8), shl(160, position)), or(shl(128, 8), shl(64, t))),
                    shl(32, 32)
                )
            )
            mstore(add(chain, 92), hash)
            if iszero(staticcall(gas(), 2, chain, 124, 0, 32)) { revert(0, 0) }
            sstore(0, mload(0))
            sstore(1, or(or(and(word, shl(128, 0xffffffffffffffff)), shl(64, t)), position))
            log2(
                data,
                add(160, padded),
                topic,
                position
            )
        }
    }

    /// @notice The lowest n that a submitter's next record of a sender may have.
    function next(address submitter, bytes32 sender) external view returns (uint64) {
        return expected[keccak256(abi.encode(submitter, sender))];
    }

    /// @notice The digest (EIP-712) that signers sign to change the allow-list.
    function digest(address[] calldata add, address[] calldata remove) public view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("hitoku order"),
                keccak256("1"),
                block.chainid,
                address(this)
            )
        );
        bytes32 content = keccak256(
            abi.encode(
                keccak256("Change(address[] add,address[] remove,uint64 nonce)"),
                keccak256(abi.encodePacked(add)),
                keccak256(abi.encodePacked(remove)),
                changes
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, content));
    }

    /// @notice Changes who may submit. Anybody may send it; what counts are the signatures.
    /// @param add who may submit from now on
    /// @param remove who may not; it is done after add
    /// @param signatures exactly threshold times r, s, v (65 bytes), in ascending order of the signers' addresses
    function change(address[] calldata add, address[] calldata remove, bytes calldata signatures) external {
        if (signatures.length != 65 * threshold) revert BadArguments();
        bytes32 d = digest(add, remove);
        address last = address(0);
        for (uint256 i = 0; i < threshold; i++) {
            bytes32 r = bytes32(signatures[i * 65:i * 65 + 32]);
            uint256 s = uint256(bytes32(signatures[i * 65 + 32:i * 65 + 64]));
            // Only the lower of the two values s that sign the same (EIP-2).
            if (s > 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0) revert BadSignature(i);
            address a = ecrecover(d, uint8(signatures[i * 65 + 64]), r, bytes32(s));
            if (a <= last || !signer[a]) revert BadSignature(i);
            last = a;
        }
        changes++;
        for (uint256 i = 0; i < add.length; i++) {
            allowed[add[i]] = true;
            emit Allowed(add[i], true);
        }
        for (uint256 i = 0; i < remove.length; i++) {
            allowed[remove[i]] = false;
            emit Allowed(remove[i], false);
        }
    }
}
