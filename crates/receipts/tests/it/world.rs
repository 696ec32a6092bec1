//! A chain made of nothing but headers, receipts and what a hub says; one deal, one task.

use alloy_consensus::{Header, SignableTransaction as _, TxEip1559, TxEnvelope};
use alloy_eips::eip2718::Encodable2718 as _;
use alloy_primitives::{Address, B256, Bloom, Bytes, Log, LogData, TxKind, U256, keccak256};
use alloy_signer::SignerSync as _;
use alloy_signer_local::PrivateKeySigner;
use alloy_sol_types::{SolCall as _, SolEvent as _};
use alloy_trie::{HashBuilder, Nibbles, TrieAccount, proof::ProofRetainer};
use orders::{AppOrder, DatasetOrder, Domain, Quartet, RequestOrder, WorkerpoolOrder};
use primitives::{DealId, OrderHash, ResultDigest, TaskId};
use receipts::{
    Entry, Evidence, Layout, Orders, Outcome, Segment, StateProof, Transaction, ordered,
};

alloy_sol_types::sol! {
    struct AppTuple { address app; uint256 appprice; uint256 volume; bytes32 tag; address datasetrestrict; address workerpoolrestrict; address requesterrestrict; bytes32 salt; bytes sign; }
    struct DatasetTuple { address dataset; uint256 datasetprice; uint256 volume; bytes32 tag; address apprestrict; address workerpoolrestrict; address requesterrestrict; bytes32 salt; bytes sign; }
    struct WorkerpoolTuple { address workerpool; uint256 workerpoolprice; uint256 volume; bytes32 tag; uint256 category; uint256 trust; address apprestrict; address datasetrestrict; address requesterrestrict; bytes32 salt; bytes sign; }
    struct RequestTuple { address app; uint256 appmaxprice; address dataset; uint256 datasetmaxprice; address workerpool; uint256 workerpoolmaxprice; address requester; uint256 volume; bytes32 tag; uint256 category; uint256 trust; address beneficiary; address callback; string params; bytes32 salt; bytes sign; }
    function matchOrders(AppTuple app, DatasetTuple dataset, WorkerpoolTuple workerpool, RequestTuple request);

    event OrdersMatched(bytes32 dealid, bytes32 appHash, bytes32 datasetHash, bytes32 workerpoolHash, bytes32 requestHash, uint256 volume);
    event TaskInitialize(bytes32 indexed taskid, address indexed workerpool);
    event TaskContribute(bytes32 indexed taskid, address indexed worker, bytes32 hash);
    event TaskConsensus(bytes32 indexed taskid, bytes32 consensus);
    event TaskReveal(bytes32 indexed taskid, address indexed worker, bytes32 digest);
    event TaskFinalize(bytes32 indexed taskid, bytes results);
    event TaskClaimed(bytes32 indexed taskid);
    event AccurateContribution(address indexed worker, bytes32 indexed taskid);
    event FaultyContribution(address indexed worker, bytes32 indexed taskid);
    event Reward(address owner, uint256 amount, bytes32 ref_);
}

const HUB: Address = Address::repeat_byte(0x1b);
const CHAIN: u64 = 5;

/// Something that the hub says of the deal or the task.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Said {
    Match,
    Initialize,
    Contribute(Address, B256),
    Consensus(B256),
    Reveal(Address, B256),
    Finalize(&'static str),
    Claim,
    Reward(Address, u64),
    Accurate(Address),
    Faulty(Address),
}

/// The digest bound to the task.
pub(crate) fn hash_of(task: TaskId, digest: B256) -> B256 {
    verdict::result_hash(task, ResultDigest(digest)).0
}

pub(crate) struct World {
    signers: [PrivateKeySigner; 3],
    quartet: Quartet,
    deal: DealId,
    blocks: Vec<Block>,
    contributions: u64,
    fate: u64,
}

struct Block {
    number: u64,
    transactions: Vec<Vec<u8>>,
    receipts: Vec<Vec<u8>>,
    /// Where in it something concerns us.
    index: Option<usize>,
}

impl World {
    pub(crate) fn new() -> Self {
        let domain = Domain { chain_id: CHAIN, hub: HUB };
        let signers =
            [1u8, 2, 3].map(|key| PrivateKeySigner::from_bytes(&B256::repeat_byte(key)).unwrap());
        let sign = |who: usize, hash: OrderHash| {
            Bytes::from(signers[who].sign_hash_sync(&hash.0).unwrap().as_bytes().to_vec())
        };
        let one = U256::ONE;
        let app = AppOrder {
            app: Address::repeat_byte(1),
            price: one,
            volume: one,
            ..AppOrder::default()
        };
        let pool = WorkerpoolOrder {
            workerpool: Address::repeat_byte(2),
            price: one,
            volume: one,
            ..WorkerpoolOrder::default()
        };
        let request = RequestOrder {
            app: app.app,
            requester: signers[2].address(),
            volume: one,
            params: r#"{"iexec_args":"a \"word\""}"#.into(),
            ..RequestOrder::default()
        };
        let quartet = Quartet {
            app: app.clone().signed(sign(0, app.hash(&domain))),
            dataset: DatasetOrder::none(),
            workerpool: pool.clone().signed(sign(1, pool.hash(&domain))),
            request: request.clone().signed(sign(2, request.hash(&domain))),
        };
        let deal = quartet.deal_id(&domain, U256::ZERO);
        Self { signers, quartet, deal, blocks: Vec::new(), contributions: 0, fate: 0 }
    }

    pub(crate) fn parties(&self) -> Vec<Address> {
        self.signers.iter().map(PrivateKeySigner::address).collect()
    }

    pub(crate) fn task(&self) -> TaskId {
        orders::task_id(self.deal, U256::ZERO)
    }

    /// Makes that many blocks; what is said in a block is said by one transaction, among two of others.
    pub(crate) fn tell(&mut self, story: &[(u64, Said)], blocks: u64) {
        for number in 0..blocks {
            let said: Vec<Said> =
                story.iter().filter(|(block, _)| *block == number).map(|(_, said)| *said).collect();
            let stranger = Log { address: Address::repeat_byte(0xee), data: LogData::default() };
            let mut transactions = vec![self.transaction(Bytes::from_static(b"other"))];
            let mut receipts = vec![entry(1, vec![stranger.clone()])];
            if !said.is_empty() {
                let calls = said.iter().any(|one| matches!(one, Said::Match));
                let data = if calls { self.match_call() } else { Bytes::from_static(b"call") };
                let mut logs: Vec<Log> = said.iter().map(|one| self.log(*one)).collect();
                logs.insert(0, stranger.clone());
                transactions.push(self.transaction(data));
                receipts.push(entry(2, logs));
            }
            transactions.push(self.transaction(Bytes::from_static(b"another")));
            receipts.push(entry(3, vec![stranger]));
            let index = (!said.is_empty()).then_some(1);
            self.blocks.push(Block { number, transactions, receipts, index });
        }
        let count = |wanted: fn(&Said) -> bool| {
            u64::try_from(story.iter().filter(|(_, said)| wanted(said)).count()).unwrap()
        };
        self.contributions = count(|said| matches!(said, Said::Contribute(..)));
        self.fate = 3 + count(|said| matches!(said, Said::Claim));
    }

    /// Evidence with headers between blocks that are no more than `gap` apart.
    pub(crate) fn evidence(&self, layout: Option<Layout>, gap: u64, signed: bool) -> Evidence {
        let state = State::new(self, layout.unwrap_or(Layout::Gristmill));
        let mut parent = B256::ZERO;
        let mut headers: Vec<Bytes> = Vec::new();
        for block in &self.blocks {
            let header = Header {
                parent_hash: parent,
                number: block.number,
                timestamp: 1_000 + block.number,
                state_root: state.root,
                transactions_root: ordered(&block.transactions, &[]).root,
                receipts_root: ordered(&block.receipts, &[]).root,
                base_fee_per_gas: Some(7),
                ..Header::default()
            };
            parent = header.hash_slow();
            headers.push(alloy_rlp::encode(&header).into());
        }
        let told: Vec<&Block> = self.blocks.iter().filter(|block| block.index.is_some()).collect();
        let mut segments: Vec<Segment> = Vec::new();
        let mut before: Option<u64> = None;
        for block in &told {
            let from = match before {
                Some(before) if block.number - before <= gap => before + 1,
                _ => {
                    segments.push(Segment { headers: Vec::new() });
                    block.number
                }
            };
            let range = usize::try_from(from).unwrap()..=usize::try_from(block.number).unwrap();
            segments.last_mut().unwrap().headers.extend(headers[range].iter().cloned());
            before = Some(block.number);
        }
        let transactions = told.iter().map(|block| {
            let index = block.index.unwrap();
            let is_match = block.transactions[index].len() > 500;
            let proof = |list: &[Vec<u8>]| ordered(list, &[index]).proofs.pop().unwrap();
            Transaction {
                block: block.number,
                index: u32::try_from(index).unwrap(),
                receipt: proof(&block.receipts),
                transaction: (is_match && signed).then(|| proof(&block.transactions)),
            }
        });
        Evidence {
            chain_id: CHAIN,
            hub: HUB,
            deal: self.deal.0,
            first_index: U256::ZERO,
            index: U256::ZERO,
            orders: Orders::from(&self.quartet),
            transactions: transactions.collect(),
            segments,
            state: layout.map(|_| state.proof),
        }
    }

    fn transaction(&self, input: Bytes) -> Vec<u8> {
        let tx =
            TxEip1559 { chain_id: CHAIN, to: TxKind::Call(HUB), input, ..TxEip1559::default() };
        let signature = self.signers[0].sign_hash_sync(&tx.signature_hash()).unwrap();
        TxEnvelope::from(tx.into_signed(signature)).encoded_2718()
    }

    fn log(&self, said: Said) -> Log {
        let (task, pool) = (self.task().0, Address::repeat_byte(2));
        let domain = Domain { chain_id: CHAIN, hub: HUB };
        let data = match said {
            Said::Match => OrdersMatched {
                dealid: self.deal.0,
                appHash: self.quartet.app.hash(&domain).0,
                datasetHash: B256::ZERO,
                workerpoolHash: self.quartet.workerpool.hash(&domain).0,
                requestHash: self.quartet.request.hash(&domain).0,
                volume: U256::ONE,
            }
            .encode_log_data(),
            Said::Initialize => TaskInitialize { taskid: task, workerpool: pool }.encode_log_data(),
            Said::Contribute(worker, hash) => {
                TaskContribute { taskid: task, worker, hash }.encode_log_data()
            }
            Said::Consensus(consensus) => {
                TaskConsensus { taskid: task, consensus }.encode_log_data()
            }
            Said::Reveal(worker, digest) => {
                TaskReveal { taskid: task, worker, digest }.encode_log_data()
            }
            Said::Finalize(results) => {
                TaskFinalize { taskid: task, results: results.as_bytes().to_vec().into() }
                    .encode_log_data()
            }
            Said::Claim => TaskClaimed { taskid: task }.encode_log_data(),
            Said::Reward(owner, amount) => {
                Reward { owner, amount: U256::from(amount), ref_: task }.encode_log_data()
            }
            Said::Accurate(worker) => {
                AccurateContribution { worker, taskid: task }.encode_log_data()
            }
            Said::Faulty(worker) => FaultyContribution { worker, taskid: task }.encode_log_data(),
        };
        Log { address: HUB, data }
    }

    fn match_call(&self) -> Bytes {
        let Quartet { app, dataset, workerpool, request } = self.quartet.clone();
        let call = matchOrdersCall {
            app: AppTuple {
                app: app.app,
                appprice: app.price,
                volume: app.volume,
                tag: app.tag.0,
                datasetrestrict: app.dataset_restrict,
                workerpoolrestrict: app.workerpool_restrict,
                requesterrestrict: app.requester_restrict,
                salt: app.salt,
                sign: app.sign,
            },
            dataset: DatasetTuple {
                dataset: dataset.dataset,
                datasetprice: dataset.price,
                volume: dataset.volume,
                tag: dataset.tag.0,
                apprestrict: dataset.app_restrict,
                workerpoolrestrict: dataset.workerpool_restrict,
                requesterrestrict: dataset.requester_restrict,
                salt: dataset.salt,
                sign: dataset.sign,
            },
            workerpool: WorkerpoolTuple {
                workerpool: workerpool.workerpool,
                workerpoolprice: workerpool.price,
                volume: workerpool.volume,
                tag: workerpool.tag.0,
                category: workerpool.category,
                trust: workerpool.trust,
                apprestrict: workerpool.app_restrict,
                datasetrestrict: workerpool.dataset_restrict,
                requesterrestrict: workerpool.requester_restrict,
                salt: workerpool.salt,
                sign: workerpool.sign,
            },
            request: RequestTuple {
                app: request.app,
                appmaxprice: request.app_max_price,
                dataset: request.dataset,
                datasetmaxprice: request.dataset_max_price,
                workerpool: request.workerpool,
                workerpoolmaxprice: request.workerpool_max_price,
                requester: request.requester,
                volume: request.volume,
                tag: request.tag.0,
                category: request.category,
                trust: request.trust,
                beneficiary: request.beneficiary,
                callback: request.callback,
                params: request.params,
                salt: request.salt,
                sign: request.sign,
            },
        };
        // As a token hands it on: a call within a call, not at a multiple of 32.
        [b"approveAndCall".to_vec(), call.abi_encode(), vec![0; 28]].concat().into()
    }
}

fn entry(gas: u64, logs: Vec<Log>) -> Vec<u8> {
    let bloom = logs.iter().collect::<Bloom>();
    Entry { kind: 2, outcome: Outcome::Status(true), cumulative_gas: gas, bloom, logs }.encode()
}

/// The hub's account among others, with the task's slots among others.
struct State {
    root: B256,
    proof: StateProof,
}

impl State {
    fn new(world: &World, layout: Layout) -> Self {
        let slots = layout.slots(world.task());
        let words = match layout {
            Layout::Gristmill => {
                vec![(U256::from(world.fate) << 128) | (U256::from(world.contributions) << 131)]
            }
            Layout::Original => vec![U256::from(world.fate), U256::from(world.contributions)],
        };
        let mut kept: Vec<(B256, Vec<u8>)> = (0u64..40)
            .map(|other| (keccak256(other.to_be_bytes()), alloy_rlp::encode(other + 1)))
            .collect();
        let keys: Vec<B256> =
            slots.iter().map(|slot| keccak256(slot.to_be_bytes::<32>())).collect();
        for (key, word) in keys.iter().zip(words) {
            // A slot that is zero is not there.
            if !word.is_zero() {
                kept.push((*key, alloy_rlp::encode(word)));
            }
        }
        let (storage_root, slots) = trie(kept, &keys);
        let hub = TrieAccount { storage_root, ..TrieAccount::default() };
        let mut accounts: Vec<(B256, Vec<u8>)> = (0u64..40)
            .map(|other| {
                let account = TrieAccount { nonce: other, ..TrieAccount::default() };
                (keccak256(other.to_be_bytes()), alloy_rlp::encode(account))
            })
            .collect();
        accounts.push((keccak256(HUB), alloy_rlp::encode(hub)));
        let (root, mut account) = trie(accounts, &[keccak256(HUB)]);
        Self { root, proof: StateProof { layout, account: account.remove(0), slots } }
    }
}

fn trie(mut entries: Vec<(B256, Vec<u8>)>, keys: &[B256]) -> (B256, Vec<Vec<Bytes>>) {
    entries.sort();
    let paths: Vec<Nibbles> = keys.iter().map(Nibbles::unpack).collect();
    let mut builder = HashBuilder::default().with_proof_retainer(ProofRetainer::new(paths.clone()));
    for (key, value) in &entries {
        builder.add_leaf(Nibbles::unpack(key), value);
    }
    let root = builder.root();
    let nodes = builder.take_proof_nodes();
    let proof = |path: &Nibbles| {
        nodes.matching_nodes_sorted(path).into_iter().map(|(_, node)| node).collect()
    };
    (root, paths.iter().map(proof).collect())
}
