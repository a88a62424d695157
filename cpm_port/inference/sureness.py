"""How sure a net must be: every threshold on beliefs that finding and following people has, from one of the model.

A pose's belief is its parts' mean peak, in the mean over the scales looked at: about 1 where a net is certain of every
joint, about 0.1 to 0.2 where nobody is. How high it is for somebody who is there depends on the net and on how long it
was trained, so the number belongs to the weights: `cpm-port bench crowd` looks at drawn scenes and prints as
`best_person_belief` which one tells most people from other things (highest F1). With other default weights, run it and
write the number here.
"""

from __future__ import annotations

__all__ = ["CANDIDATE", "HYPOTHESIS", "KEEP", "PERSON"]

PERSON = 0.41
"""From here on somebody is there, as seen in a second look, or as found anew in a video."""

KEEP = 0.7 * PERSON
"""From here on somebody who was there in the frame before still is."""

CANDIDATE = 0.6 * PERSON
"""From here on what was seen at one scale is looked at again."""

HYPOTHESIS = 0.4 * PERSON
"""From here on what was seen in the whole picture, where nobody in particular is meant, is looked at."""
