"""What the kernel tells about processes: CPU time, memory, and how much the rest of the machine disturbed a run."""
import os

TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid):
    """The process and everything it started."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = _stat(entry)
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry))
    found, open_ends = [], [pid]
    while open_ends:
        process = open_ends.pop()
        found.append(process)
        open_ends += children.get(process, [])
    return found


def _stat(pid):
    """Fields of /proc/PID/stat from the state on, or None."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            text = file.read()
    except OSError:
        return None
    return text[text.rindex(")") + 2:].split()


def cpu(pids):
    """User and system seconds of whole process trees so far."""
    user = system = 0
    for root in pids:
        for pid in tree(root):
            fields = _stat(pid)
            if fields:
                user += int(fields[11])
                system += int(fields[12])
    return user / TICKS, system / TICKS


def _sum_of_field(pids, file_name, field):
    kilobytes = 0
    for root in pids:
        for pid in tree(root):
            try:
                with open(f"/proc/{pid}/{file_name}") as file:
                    kilobytes += sum(int(line.split()[1]) for line in file if line.startswith(field))
            except OSError:
                pass
    return kilobytes


def resident(pids):
    """Resident kilobytes (RSS) of whole process trees."""
    return _sum_of_field(pids, "status", "VmRSS:")


def proportional(pids):
    """Proportional kilobytes (PSS), which count shared pages once."""
    return _sum_of_field(pids, "smaps_rollup", "Pss:")


def machine():
    """Busy and stolen seconds of the whole machine so far."""
    with open("/proc/stat") as file:
        values = [int(value) for value in file.readline().split()[1:9]]
    busy = sum(values) - values[3] - values[4]
    return busy / TICKS, values[7] / TICKS
