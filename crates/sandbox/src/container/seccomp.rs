//! Which system calls a container may make: those of ordinary programs.
//!
//! What is not named here answers "no such call", which C libraries take as a hint to use an older one. Left out on
//! purpose: mounts, namespaces, modules, keys, tracing, the clock's setting, other processes' memory, BPF, performance
//! counters, user-space page faults, io_uring, raw io, swap, reboot, and whatever new kernels bring.

use serde_json::{Value, json};

/// `ENOSYS`.
const NO_SUCH_CALL: u32 = 38;
/// Flags of `clone` that make namespaces.
const NEW_NAMESPACES: u64 = 0x7e02_0000;

const FILES: &str = "access chdir chmod chown chown32 close close_range copy_file_range creat dup dup2 dup3 \
    faccessat faccessat2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl \
    fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync \
    ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr inotify_add_watch inotify_init inotify_init1 \
    inotify_rm_watch ioctl lchown lchown32 lgetxattr link linkat listxattr llistxattr _llseek lremovexattr lseek \
    lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 \
    pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr rename renameat renameat2 rmdir \
    sendfile sendfile64 setxattr splice stat stat64 statfs statfs64 statx symlink symlinkat sync sync_file_range syncfs \
    tee truncate truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes vmsplice write writev";

const MEMORY: &str = "brk get_mempolicy madvise membarrier memfd_create mincore mlock mlock2 mlockall mmap mmap2 \
    mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages";

const PROCESSES: &str = "arch_prctl capget capset execve execveat exit exit_group fork futex futex_time64 \
    futex_waitv futex_wait futex_wake futex_requeue get_robust_list get_thread_area getcpu getegid getegid32 geteuid \
    geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid getpriority getresgid getresgid32 \
    getresuid getresuid32 getrlimit getrusage getsid gettid getuid getuid32 ioprio_get ioprio_set kill pidfd_open \
    pidfd_send_signal prctl prlimit64 rseq sched_get_priority_max sched_get_priority_min sched_getaffinity \
    sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 \
    sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield set_robust_list set_thread_area \
    set_tid_address setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setpgid setpriority \
    setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid setuid \
    setuid32 sysinfo tgkill tkill ugetrlimit uname vfork wait4 waitid waitpid";

const TIME_AND_SIGNALS: &str = "alarm clock_getres clock_getres_time64 clock_gettime clock_gettime64 \
    clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday nanosleep pause restart_syscall rt_sigaction \
    rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 \
    rt_tgsigqueueinfo setitimer sigaltstack signalfd signalfd4 sigreturn time timer_create timer_delete timer_getoverrun \
    timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 \
    timerfd_settime timerfd_settime64 times";

const WAITING_AND_TALKING: &str = "accept accept4 bind connect epoll_create epoll_create1 epoll_ctl epoll_pwait \
    epoll_pwait2 epoll_wait eventfd eventfd2 getpeername getrandom getsockname getsockopt listen mq_getsetattr mq_notify \
    mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd _newselect poll ppoll ppoll_time64 pselect6 \
    pselect6_time64 recv recvfrom recvmmsg recvmmsg_time64 recvmsg select semctl semget semop semtimedop \
    semtimedop_time64 send sendmmsg sendmsg sendto setsockopt shmat shmctl shmdt shmget shutdown socketcall socketpair";

/// The profile, as OCI runtimes take it; for the machine's own architecture only.
pub(super) fn profile() -> Value {
    let groups = [FILES, MEMORY, PROCESSES, TIME_AND_SIGNALS, WAITING_AND_TALKING];
    let names: Vec<&str> = groups.iter().flat_map(|group| group.split_whitespace()).collect();
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": NO_SUCH_CALL,
        "syscalls": [
            { "names": names, "action": "SCMP_ACT_ALLOW" },
            {
                "names": ["clone"], "action": "SCMP_ACT_ALLOW",
                "args": [{ "index": 0, "value": NEW_NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }],
            },
            // Sockets of any kind but the kernel's own: netlink, packet, vsock, algorithms.
            socket_of(1), socket_of(2), socket_of(10),
            // The personality of an ordinary program, and the one that asks for it.
            personality(0), personality(0xffff_ffff),
        ],
    })
}

fn socket_of(family: u64) -> Value {
    json!({
        "names": ["socket"], "action": "SCMP_ACT_ALLOW",
        "args": [{ "index": 0, "value": family, "op": "SCMP_CMP_EQ" }],
    })
}

fn personality(value: u64) -> Value {
    json!({
        "names": ["personality"], "action": "SCMP_ACT_ALLOW",
        "args": [{ "index": 0, "value": value, "op": "SCMP_CMP_EQ" }],
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_call_is_named_twice_and_none_that_reaches_the_host() {
        let profile = profile();
        let names: Vec<&str> = profile["syscalls"][0]["names"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it.as_str().unwrap())
            .collect();
        assert_eq!(names.len(), names.iter().collect::<BTreeSet<_>>().len());
        for kept_out in [
            "mount",
            "umount2",
            "setns",
            "unshare",
            "clone3",
            "ptrace",
            "bpf",
            "keyctl",
            "add_key",
            "init_module",
            "kexec_load",
            "reboot",
            "swapon",
            "process_vm_writev",
            "perf_event_open",
            "userfaultfd",
            "io_uring_setup",
            "open_by_handle_at",
            "pivot_root",
            "chroot",
            "settimeofday",
            "clock_settime",
            "socket",
            "personality",
        ] {
            assert!(!names.contains(&kept_out), "{kept_out}");
        }
    }
}
