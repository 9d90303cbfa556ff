// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import "./Order.sol";

/// @title Nest makes one Order, so that its address depends on nothing that is in the Order.
contract Nest {
    address private immutable factory = msg.sender;

    function make(bytes32 ledger, uint256 longest, uint256 m, address[] calldata signers, address[] calldata submitters)
        external
        returns (Order)
    {
        require(msg.sender == factory);
        return new Order(ledger, longest, m, signers, submitters);
    }
}

/// @title Factory makes Orders at addresses that are known before.
/// @notice A ledger's id is the hash of its genesis, and the genesis names the Order's address; the Order begins
/// with the ledger's id. So the address must not depend on the id. The factory holds nothing and has no owner.
contract Factory {
    event Made(address indexed maker, bytes32 indexed salt, Order order);

    /// @notice Makes an Order at the address that addressOf gives for the same caller and salt. Each salt serves once.
    function make(
        bytes32 salt,
        bytes32 ledger,
        uint256 longest,
        uint256 m,
        address[] calldata signers,
        address[] calldata submitters
    ) external returns (Order order) {
        Nest nest = new Nest{salt: keccak256(abi.encode(msg.sender, salt))}();
        order = nest.make(ledger, longest, m, signers, submitters);
        emit Made(msg.sender, salt, order);
    }

    /// @notice The address of the Order that a maker gets for a salt.
    function addressOf(address maker, bytes32 salt) external view returns (address) {
        bytes32 nest = keccak256(
            abi.encodePacked(
                hex"ff", address(this), keccak256(abi.encode(maker, salt)), keccak256(type(Nest).creationCode)
            )
        );
        // The first contract of the nest: keccak256 of RLP [nest, nonce 1].
        return address(
            uint160(uint256(keccak256(abi.encodePacked(hex"d694", address(uint160(uint256(nest))), hex"01"))))
        );
    }
}
