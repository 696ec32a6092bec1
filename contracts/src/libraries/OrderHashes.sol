// SPDX-License-Identifier: Apache-2.0 OR MIT
pragma solidity 0.8.37;

import {IexecLibOrders_v5} from "./IexecLibOrders_v5.sol";

/// @title EIP-712 hashes of orders
/// @notice The hashed fields of an order are a run of whole words at its beginning in calldata, and are hashed from
/// there. `sign` is in no hash.
library OrderHashes {
    bytes32 internal constant DOMAIN =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");
    bytes32 private constant DOMAIN_NAME = keccak256("iExecODB");
    bytes32 private constant DOMAIN_VERSION = keccak256("5.0.0");
    bytes32 internal constant APP = keccak256(
        "AppOrder(address app,uint256 appprice,uint256 volume,bytes32 tag,address datasetrestrict,address workerpoolrestrict,address requesterrestrict,bytes32 salt)"
    );
    bytes32 internal constant DATASET = keccak256(
        "DatasetOrder(address dataset,uint256 datasetprice,uint256 volume,bytes32 tag,address apprestrict,address workerpoolrestrict,address requesterrestrict,bytes32 salt)"
    );
    bytes32 internal constant WORKERPOOL = keccak256(
        "WorkerpoolOrder(address workerpool,uint256 workerpoolprice,uint256 volume,bytes32 tag,uint256 category,uint256 trust,address apprestrict,address datasetrestrict,address requesterrestrict,bytes32 salt)"
    );
    bytes32 internal constant REQUEST = keccak256(
        "RequestOrder(address app,uint256 appmaxprice,address dataset,uint256 datasetmaxprice,address workerpool,uint256 workerpoolmaxprice,address requester,uint256 volume,bytes32 tag,uint256 category,uint256 trust,address beneficiary,address callback,string params,bytes32 salt)"
    );
    bytes32 internal constant APP_OPERATION = keccak256(
        "AppOrderOperation(AppOrder order,uint256 operation)AppOrder(address app,uint256 appprice,uint256 volume,bytes32 tag,address datasetrestrict,address workerpoolrestrict,address requesterrestrict,bytes32 salt)"
    );
    bytes32 internal constant DATASET_OPERATION = keccak256(
        "DatasetOrderOperation(DatasetOrder order,uint256 operation)DatasetOrder(address dataset,uint256 datasetprice,uint256 volume,bytes32 tag,address apprestrict,address workerpoolrestrict,address requesterrestrict,bytes32 salt)"
    );
    bytes32 internal constant WORKERPOOL_OPERATION = keccak256(
        "WorkerpoolOrderOperation(WorkerpoolOrder order,uint256 operation)WorkerpoolOrder(address workerpool,uint256 workerpoolprice,uint256 volume,bytes32 tag,uint256 category,uint256 trust,address apprestrict,address datasetrestrict,address requesterrestrict,bytes32 salt)"
    );
    bytes32 internal constant REQUEST_OPERATION = keccak256(
        "RequestOrderOperation(RequestOrder order,uint256 operation)RequestOrder(address app,uint256 appmaxprice,address dataset,uint256 datasetmaxprice,address workerpool,uint256 workerpoolmaxprice,address requester,uint256 volume,bytes32 tag,uint256 category,uint256 trust,address beneficiary,address callback,string params,bytes32 salt)"
    );

    /// @notice The domain's hash, for this contract on that chain.
    function separator(uint256 chainId) internal view returns (bytes32) {
        return keccak256(abi.encode(DOMAIN, DOMAIN_NAME, DOMAIN_VERSION, chainId, address(this)));
    }

    /// @notice What is signed: the struct's hash under the domain.
    function typed(bytes32 domain, bytes32 inner) internal pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, shl(240, 0x1901))
            mstore(add(free, 2), domain)
            mstore(add(free, 34), inner)
            hash := keccak256(free, 66)
        }
    }

    function structHash(IexecLibOrders_v5.AppOrder calldata order) internal pure returns (bytes32) {
        bytes32 pos;
        assembly ("memory-safe") {
            pos := order
        }
        return run(APP, pos, 8);
    }

    function structHash(IexecLibOrders_v5.DatasetOrder calldata order) internal pure returns (bytes32) {
        bytes32 pos;
        assembly ("memory-safe") {
            pos := order
        }
        return run(DATASET, pos, 8);
    }

    function structHash(IexecLibOrders_v5.WorkerpoolOrder calldata order) internal pure returns (bytes32) {
        bytes32 pos;
        assembly ("memory-safe") {
            pos := order
        }
        return run(WORKERPOOL, pos, 10);
    }

    function structHash(IexecLibOrders_v5.RequestOrder calldata order) internal pure returns (bytes32 hash) {
        bytes32 typeHash = REQUEST;
        bytes32 params = keccak256(bytes(order.params));
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, typeHash)
            calldatacopy(add(free, 32), order, 480)
            mstore(add(free, 448), params) // fourteenth field: the text's offset becomes its hash
            hash := keccak256(free, 512)
        }
    }

    /// @notice Hash of an operation on an order, from the order's own.
    function operation(bytes32 typeHash, bytes32 order, uint256 kind) internal pure returns (bytes32) {
        return keccak256(abi.encode(typeHash, order, kind));
    }

    function run(bytes32 typeHash, bytes32 pos, uint256 words) private pure returns (bytes32 hash) {
        assembly ("memory-safe") {
            let free := mload(0x40)
            mstore(free, typeHash)
            calldatacopy(add(free, 32), pos, mul(words, 32))
            hash := keccak256(free, mul(add(words, 1), 32))
        }
    }
}
