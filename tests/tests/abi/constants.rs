//! What C calls the constants.

use std::collections::BTreeSet;

use xen_abi::arch_arm::{self, Window};
use xen_abi::errno::Errno;
use xen_abi::grant_table::GrantStatus;

use super::c::Question;
use super::source::Declared;

/// Constants for which the headers have no name and no expression, and why they are here all the same.
const WITHOUT: [(&str, &str); 2] = [
    ("arch_arm::GICV3_REDISTRIBUTOR_STRIDE", "the architecture's: two frames of 64 KiB for each redistributor"),
    ("event_channel::op::RESET_CONT", "the headers have it for Xen alone, which refuses it to guests"),
];

/// Constants of the module or type at a path. C's name is the prefix and the name in lower case, or what stands after
/// `=`: an expression of C's.
macro_rules! constants {
    ($($at:ident)::+, $prefix:literal, [$($name:ident $(= $c:literal)?),* $(,)?]) => {{
        use xen_abi::$($at)::+ as of;
        let path = stringify!($($at)::+).replace(' ', "");
        vec![$(question(&path, stringify!($name), of::$name.bits(), $prefix, &[$($c)?])),*]
    }};
}

/// What is to be asked about constants.
///
/// # Panics
///
/// If one that is declared is not in a list, or a list has what is not there.
pub fn questions(declared: &Declared) -> Vec<Question> {
    let questions: Vec<Question> =
        [machine(), console(), errors(), events(), grants(), memory(), vcpus(), versions(), xen(), control()].concat();
    let whole = |question: &Question| question.what.split('.').next().unwrap_or_default().to_owned();
    let mut listed: BTreeSet<String> = questions.iter().map(whole).collect();
    listed.extend(WITHOUT.map(|(name, _)| name.to_owned()));
    let forgotten: Vec<_> = declared.constants.difference(&listed).collect();
    assert!(forgotten.is_empty(), "what C calls these is not listed in tests/abi/constants.rs: {forgotten:?}");
    let gone: Vec<_> = listed.difference(&declared.constants).collect();
    assert!(gone.is_empty(), "these are not declared: {gone:?}");
    questions
}

fn question(path: &str, name: &str, here: i64, prefix: &str, expression: &[&str]) -> Question {
    let by_name = || format!("{prefix}{}", name.to_lowercase());
    let expression = expression.first().map_or_else(by_name, |expression| (*expression).to_owned());
    Question { what: format!("{path}::{name}"), expression, here }
}

/// What has a number.
trait Number {
    fn bits(self) -> i64;
}

impl Number for u8 {
    fn bits(self) -> i64 {
        self.into()
    }
}

impl Number for u16 {
    fn bits(self) -> i64 {
        self.into()
    }
}

impl Number for u32 {
    fn bits(self) -> i64 {
        self.into()
    }
}

impl Number for u64 {
    fn bits(self) -> i64 {
        self.cast_signed()
    }
}

impl Number for usize {
    fn bits(self) -> i64 {
        self as i64
    }
}

impl Number for GrantStatus {
    fn bits(self) -> i64 {
        self as i64
    }
}

impl Number for Errno {
    fn bits(self) -> i64 {
        self.number().into()
    }
}

fn machine() -> Vec<Question> {
    let windows = [
        window("GICV3_DISTRIBUTOR", arch_arm::GICV3_DISTRIBUTOR, "GUEST_GICV3_GICD"),
        window("GICV3_REDISTRIBUTORS", arch_arm::GICV3_REDISTRIBUTORS, "GUEST_GICV3_GICR0"),
        window("VPL011", arch_arm::VPL011, "GUEST_PL011"),
        window("GRANT_TABLE", arch_arm::GRANT_TABLE, "GUEST_GNTTAB"),
        window("MAGIC_PAGES", arch_arm::MAGIC_PAGES, "GUEST_MAGIC"),
        window("RAM0", arch_arm::RAM0, "GUEST_RAM0"),
        window("RAM1", arch_arm::RAM1, "GUEST_RAM1"),
    ];
    let numbers = constants!(
        arch_arm,
        "",
        [
            VPL011_INTID = "GUEST_VPL011_SPI",
            TIMER_VIRTUAL_INTID = "GUEST_TIMER_VIRT_PPI",
            TIMER_PHYSICAL_SECURE_INTID = "GUEST_TIMER_PHYS_S_PPI",
            TIMER_PHYSICAL_INTID = "GUEST_TIMER_PHYS_NS_PPI",
            EVENT_CHANNEL_INTID = "GUEST_EVTCHN_PPI",
            MAX_VCPUS = "GUEST_MAX_VCPUS",
            HYPERCALL_TAG = "XEN_HYPERCALL_TAG",
        ]
    );
    [windows.concat(), numbers].concat()
}

fn window(name: &str, window: Window, c: &str) -> Vec<Question> {
    let part = |part: &str, here: u64, suffix: &str| Question {
        what: format!("arch_arm::{name}.{part}"),
        expression: format!("{c}_{suffix}"),
        here: here.cast_signed(),
    };
    vec![part("base", window.base, "BASE"), part("size", window.size, "SIZE")]
}

fn console() -> Vec<Question> {
    constants!(console, "CONSOLEIO_", [WRITE, READ])
}

#[rustfmt::skip]
fn errors() -> Vec<Question> {
    let errors = [
        constants!(errno::Errno, "", [
            EPERM = "XEN_EPERM", EACCES = "XEN_EACCES", EILSEQ = "XEN_EILSEQ", ENOENT = "XEN_ENOENT", ESRCH = "XEN_ESRCH", ENXIO = "XEN_ENXIO", E2BIG = "XEN_E2BIG",
            EAGAIN = "XEN_EAGAIN", ENOMEM = "XEN_ENOMEM", EFAULT = "XEN_EFAULT",
            EBUSY = "XEN_EBUSY", EEXIST = "XEN_EEXIST", EINVAL = "XEN_EINVAL", ENOSPC = "XEN_ENOSPC",
            ENOSYS = "XEN_ENOSYS", EOPNOTSUPP = "XEN_EOPNOTSUPP", ENOBUFS = "XEN_ENOBUFS",
        ]),
        constants!(grant_table::GrantStatus, "GNTST_", [
            Okay, GeneralError = "GNTST_general_error", BadDomain = "GNTST_bad_domain",
            BadGrantReference = "GNTST_bad_gntref", BadHandle = "GNTST_bad_handle",
            BadVirtualAddress = "GNTST_bad_virt_addr", NoDeviceSpace = "GNTST_no_device_space",
            PermissionDenied = "GNTST_permission_denied", BadPage = "GNTST_bad_page",
            BadCopyArgument = "GNTST_bad_copy_arg", Again = "GNTST_eagain",
        ]),
    ];
    errors.concat()
}

#[rustfmt::skip]
fn events() -> Vec<Question> {
    let events = [
        constants!(event_channel::op, "EVTCHNOP_", [
            BIND_INTERDOMAIN, BIND_VIRQ, BIND_PIRQ, CLOSE, SEND, STATUS, ALLOC_UNBOUND, BIND_IPI, BIND_VCPU, UNMASK,
            RESET, INIT_CONTROL, EXPAND_ARRAY, SET_PRIORITY,
        ]),
        constants!(event_channel::status, "EVTCHNSTAT_", [CLOSED, UNBOUND, INTERDOMAIN, VIRQ, IPI]),
        constants!(event_channel::fifo, "", [
            PENDING = "1u << EVTCHN_FIFO_PENDING", MASKED = "1u << EVTCHN_FIFO_MASKED",
            LINKED = "1u << EVTCHN_FIFO_LINKED", BUSY = "1u << EVTCHN_FIFO_BUSY",
            LINK_BITS = "EVTCHN_FIFO_LINK_BITS", LINK = "EVTCHN_FIFO_LINK_MASK", QUEUES = "EVTCHN_FIFO_MAX_QUEUES",
            DEFAULT_PRIORITY = "EVTCHN_FIFO_PRIORITY_DEFAULT", WORDS_PER_PAGE = "4096 / sizeof(event_word_t)",
            MAX_PAGES = "EVTCHN_FIFO_NR_CHANNELS / (4096 / sizeof(event_word_t))",
        ]),
    ];
    events.concat()
}

#[rustfmt::skip]
fn grants() -> Vec<Question> {
    let grants = [
        constants!(grant_table::op, "GNTTABOP_", [
            MAP = "GNTTABOP_map_grant_ref", UNMAP = "GNTTABOP_unmap_grant_ref", SETUP_TABLE, TRANSFER, COPY,
            QUERY_SIZE, UNMAP_AND_REPLACE, SET_VERSION, GET_STATUS_FRAMES, GET_VERSION, SWAP_GRANT_REF, CACHE_FLUSH,
        ]),
        constants!(grant_table::flags, "GTF_", [
            TYPE = "GTF_type_mask", PERMIT_ACCESS, READ_ONLY = "GTF_readonly", READING, WRITING,
        ]),
        constants!(grant_table::map, "GNTMAP_", [
            DEVICE = "GNTMAP_device_map", HOST = "GNTMAP_host_map", READ_ONLY = "GNTMAP_readonly",
        ]),
        constants!(grant_table::option, "GNTCOPY_", [
            SOURCE_GREF, DEST_GREF, CACHE_CLEAN = "GNTTAB_CACHE_CLEAN", CACHE_INVALIDATE = "GNTTAB_CACHE_INVAL",
        ]),
        constants!(grant_table, "", [
            ENTRIES_PER_FRAME = "4096 / sizeof(struct grant_entry_v1)", RESERVED_ENTRIES = "GNTTAB_NR_RESERVED_ENTRIES",
        ]),
    ];
    grants.concat()
}

#[rustfmt::skip]
fn memory() -> Vec<Question> {
    let memory = [
        constants!(memory::op, "XENMEM_", [
            INCREASE_RESERVATION, DECREASE_RESERVATION, MAXIMUM_RAM_PAGE, CURRENT_RESERVATION, MAXIMUM_RESERVATION,
            POPULATE_PHYSMAP, ADD_TO_PHYSMAP, EXCHANGE, MAXIMUM_GPFN, REMOVE_FROM_PHYSMAP, ADD_TO_PHYSMAP_BATCH,
            GET_SHARING_FREED_PAGES, GET_SHARING_SHARED_PAGES,
        ]),
        constants!(memory::space, "XENMAPSPACE_", [SHARED_INFO, GRANT_TABLE, GMFN_RANGE, GMFN_FOREIGN, DEV_MMIO]),
    ];
    memory.concat()
}

#[rustfmt::skip]
fn vcpus() -> Vec<Question> {
    let vcpus = [
        constants!(vcpu::op, "VCPUOP_", [
            REGISTER_RUNSTATE_MEMORY_AREA, REGISTER_VCPU_INFO,
        ]),
        constants!(vcpu::runstate, "RUNSTATE_", [RUNNING, RUNNABLE, BLOCKED, OFFLINE, UPDATE = "XEN_RUNSTATE_UPDATE"]),
        constants!(sched::op, "SCHEDOP_", [
            YIELD, BLOCK, SHUTDOWN, POLL, REMOTE_SHUTDOWN, SHUTDOWN_CODE, WATCHDOG, PIN_OVERRIDE,
        ]),
        constants!(sched::reason, "SHUTDOWN_", [POWEROFF, REBOOT, SUSPEND, CRASH, WATCHDOG, SOFT_RESET]),
    ];
    vcpus.concat()
}

#[rustfmt::skip]
fn versions() -> Vec<Question> {
    let versions = [
        constants!(version::op, "XENVER_", [
            VERSION, EXTRAVERSION, COMPILE_INFO, CAPABILITIES, CHANGESET, PLATFORM_PARAMETERS, GET_FEATURES, PAGESIZE,
            GUEST_HANDLE, COMMANDLINE, BUILD_ID, EXTRAVERSION2, CAPABILITIES2, CHANGESET2, COMMANDLINE2,
        ]),
        constants!(version::feature, "", [
            TRANSLATED = "1 << XENFEAT_writable_page_tables | 1 << XENFEAT_auto_translated_physmap",
            MEMORY_OP_VNODE = "1 << XENFEAT_memory_op_vnode_supported",
            ARM_SMCCC = "1 << XENFEAT_ARM_SMCCC_supported",
            NOT_DIRECT_MAPPED = "1 << XENFEAT_not_direct_mapped",
            RUNSTATE_PHYS_AREA = "1 << XENFEAT_runstate_phys_area",
        ]),
    ];
    versions.concat()
}

#[rustfmt::skip]
fn xen() -> Vec<Question> {
    let xen = [
        constants!(xen::hypercall, "__HYPERVISOR_", [
            PLATFORM_OP, MEMORY_OP, MULTICALL, XEN_VERSION, CONSOLE_IO, GRANT_TABLE_OP, VM_ASSIST, VCPU_OP, SCHED_OP,
            EVENT_CHANNEL_OP, HVM_OP, SYSCTL, DOMCTL,
        ]),
        constants!(xen::domid, "", [SELF = "DOMID_SELF"]),
        constants!(xen::virq, "", [
            CONSOLE = "VIRQ_CONSOLE", DEBUG = "VIRQ_DEBUG", DOM_EXC = "VIRQ_DOM_EXC", COUNT = "NR_VIRQS",
            // Which are each vCPU's, the header says in words.
            GLOBAL = "~(1u << VIRQ_TIMER | 1u << VIRQ_DEBUG | 1u << VIRQ_XENOPROF | 1u << VIRQ_XENPMU)",
        ]),
        constants!(xen::assist, "VMASST_CMD_", [
            ENABLE, DISABLE, RUNSTATE_UPDATE_FLAG = "VMASST_TYPE_runstate_update_flag",
        ]),
        constants!(xen, "", [EVENTS_2L = "EVTCHN_2L_NR_CHANNELS"]),
        constants!(hvm, "HVMOP_", [
            SET_PARAM, GET_PARAM, REQUEST_VM_EVENT = "HVMOP_guest_request_vm_event",
            CALLBACK_PPI = "(long)HVM_PARAM_CALLBACK_TYPE_PPI << 56",
        ]),
        constants!(hvm::param, "", [
            CALLBACK_IRQ = "HVM_PARAM_CALLBACK_IRQ", STORE_PFN = "HVM_PARAM_STORE_PFN",
            STORE_EVTCHN = "HVM_PARAM_STORE_EVTCHN", CONSOLE_PFN = "HVM_PARAM_CONSOLE_PFN",
            CONSOLE_EVTCHN = "HVM_PARAM_CONSOLE_EVTCHN", MONITOR_RING_PFN = "HVM_PARAM_MONITOR_RING_PFN",
        ]),
    ];
    xen.concat()
}

#[rustfmt::skip]
fn control() -> Vec<Question> {
    let control = [
        constants!(domctl, "", [
            INTERFACE_VERSION = "XEN_DOMCTL_INTERFACE_VERSION", PT_IRQ_TYPE_SPI = "PT_IRQ_TYPE_SPI",
            VGCF_ONLINE = "VGCF_online",
        ]),
        constants!(domctl::op, "XEN_DOMCTL_", [
            CREATEDOMAIN, DESTROYDOMAIN, PAUSEDOMAIN, UNPAUSEDOMAIN, GETDOMAININFO, MAX_MEM, SETVCPUCONTEXT,
            MAX_VCPUS, SCHEDULER_OP, IOMEM_PERMISSION, HYPERCALL_INIT, BIND_PT_IRQ, MEMORY_MAPPING,
        ]),
        constants!(domctl::create, "XEN_DOMCTL_CDF_", [HVM, HAP, XS_DOMAIN]),
        constants!(domctl::info, "XEN_DOMINF_", [
            DYING, SHUTDOWN, PAUSED, BLOCKED, RUNNING, XS_DOMAIN, HAP, HVM_GUEST,
            SHUTDOWN_SHIFT = "XEN_DOMINF_shutdownshift",
        ]),
        constants!(domctl::sched, "XEN_DOMCTL_SCHEDOP_", [PUTINFO, GETINFO, CREDIT2 = "XEN_SCHEDULER_CREDIT2"]),
        constants!(sysctl, "", [INTERFACE_VERSION = "XEN_SYSCTL_INTERFACE_VERSION"]),
        constants!(sysctl::op, "XEN_SYSCTL_", [READCONSOLE, PHYSINFO, SCHED_ID, GETDOMAININFOLIST]),
        constants!(sysctl::capability, "XEN_SYSCTL_PHYSCAP_", [HVM, HAP, GNTTAB_V1]),
    ];
    control.concat()
}
