"""From samples of a sensor's payloads to a draft of its profile, that says of each line how sure it is.

    samples  lines of a file         → payloads, with their topics where the lines hold them
    survey   payloads                → what stands at each path, over all of them
    names    a key such as `dist_mm` → a name, a unit, and what such names usually are
    roles    what stands at a path   → time, counter, state, event, dimension, …
    topics   the topics              → templates with {site} and {device}
    draft    all of it               → the YAML text

Pure. Nothing is believed because of a name alone where values can speak against it.
"""
