"""Forbids a system call by seccomp, as a sandbox does, and goes on as another program:
sandbox.py memfd_create|socket|netlink|bind|socketpair|shutdown|eventfd|epoll|getgroups|recvmmsg|mincore|populate program argument...
`socket` are those of AF_UNIX, `populate` is what kernels before 5.14 do not know of madvise. With an exclamation mark behind it
whoever calls it is killed."""
import ctypes, errno, os, platform, struct, sys
number = {'x86_64': {'memfd_create': 319, 'socket': 41, 'bind': 49, 'socketpair': 53, 'shutdown': 48, 'eventfd': 290, 'epoll': 291,
                     'getgroups': 115, 'recvmmsg': 299, 'mincore': 27, 'madvise': 28},
          'aarch64': {'memfd_create': 279, 'socket': 198, 'bind': 200, 'socketpair': 199, 'shutdown': 210, 'eventfd': 19, 'epoll': 20,
                      'getgroups': 158, 'recvmmsg': 243, 'mincore': 232, 'madvise': 233}}[platform.machine()]
insn = lambda code, jt, jf, k: struct.pack('HBBI', code, jt, jf, k)
LOAD, EQUAL, NOT_BELOW, RETURN = 0x20, 0x15, 0x35, 0x06
ALLOW, ERRNO, KILL = 0x7fff0000, 0x00050000, 0x80000000
# The call, the number of an argument that counts, and its value, or the least: Linux 5.14 brought 22 and 23, later ones what is above.
of = {'socket': ('socket', 0, EQUAL, 1), 'netlink': ('socket', 0, EQUAL, 16), 'populate': ('madvise', 2, NOT_BELOW, 22)}
word = sys.argv[1].rstrip('!')
call, argument, compared, value = of.get(word, (word, None, None, None))
answer = KILL if sys.argv[1] != word else ERRNO | (errno.EINVAL if word == 'populate' else errno.EACCES)
counts = argument is not None
code = [insn(LOAD, 0, 0, 0), insn(EQUAL, 0, 3 if counts else 1, number[call])]
if counts:
    code += [insn(LOAD, 0, 0, 16 + 8 * argument), insn(compared, 0, 1, value)]
code += [insn(RETURN, 0, 0, answer), insn(RETURN, 0, 0, ALLOW)]
filter = ctypes.create_string_buffer(b''.join(code))
program = ctypes.create_string_buffer(struct.pack('HxxxxxxP', len(code), ctypes.addressof(filter)))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0, ctypes.get_errno()
os.execv(sys.argv[2], sys.argv[2:])
