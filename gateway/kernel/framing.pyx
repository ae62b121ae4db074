# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
"""The usual PUBLISH packets at the head of a buffer, cut into topics and payloads: see `ingest.packets`.

PUBREL packets of QoS 2 that say nothing but their identifier are taken, too. Stops before the first packet
that is not one of these: another kind, not yet whole, over the maximum, at a QoS that needs a closer look,
or against MQTT's rules. What it is then is for the Python beside to say.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE


def deliveries(bytes data not None, int level, Py_ssize_t max_packet, Py_ssize_t max_count,
               list topics not None, list payloads not None, bytearray headers not None, list ids not None,
               list released not None, list release_places not None):
    """Append what leads `data` to the columns; return where the first other packet begins.

    The first four are of the PUBLISH packets. `released` and `release_places` are of the PUBREL packets:
    their identifiers, and how many PUBLISH packets came before each.
    """
    cdef const unsigned char* at = <const unsigned char*>PyBytes_AS_STRING(data)
    cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
    cdef Py_ssize_t begin = 0, start, end, length, name, topic_end, body, skip
    cdef Py_ssize_t count = 0, releases = 0
    cdef unsigned int first, qos, packet_id
    cdef int shift
    cdef bint five = level == 5
    while count + releases < max_count and begin + 2 <= size:
        first = at[begin]
        if first >> 4 != 3:
            # PUBREL in its short form: no reason code, no properties.
            if first != 0x62 or at[begin + 1] != 2 or begin + 4 > size or max_packet < 4:
                break
            packet_id = at[begin + 2] << 8 | at[begin + 3]
            if not packet_id:
                break
            released.append(packet_id)
            release_places.append(count)
            releases += 1
            begin += 4
            continue
        # The remaining length: up to four bytes of seven bits each.
        length, shift, start = 0, 0, begin + 1
        while start < size and shift < 28:
            length |= <Py_ssize_t>(at[start] & 0x7F) << shift
            shift += 7
            start += 1
            if at[start - 1] < 128:
                break
        else:
            break  # cut off within the length, or a length of more than four bytes
        end = start + length
        if end > size or end - begin > max_packet or length < 3:
            break
        name = start + 2
        topic_end = body = name + (at[start] << 8 | at[start + 1])
        qos = first & 6
        packet_id = 0
        if qos:
            if qos == 6 or body + 2 > end:
                break
            packet_id = at[body] << 8 | at[body + 1]
            if not packet_id:
                break
            body += 2
        if five:
            if body >= end:
                break
            skip = at[body]
            if skip > 127:
                break
            body += 1 + skip
        if body > end or topic_end == name:
            break
        topics.append(PyBytes_FromStringAndSize(<char*>at + name, topic_end - name))
        payloads.append(PyBytes_FromStringAndSize(<char*>at + body, end - body))
        headers.append(first)
        ids.append(packet_id)
        count += 1
        begin = end
    return begin
