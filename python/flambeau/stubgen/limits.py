"""Every number that bounds what is written, in one place. Names end in their unit."""

# A docstring's first paragraph and a parameter's first sentence, as an editor shows them.
SUMMARY_CHARACTERS = 320
PARAMETER_CHARACTERS = 120
# Positional arguments beyond the required ones that get a signature of their own; later ones are keywords.
OPTIONAL_POSITIONS = 2
# Of functions with more parameters than this, people write the first ones by position and name the rest.
MANY_PARAMETERS = 8
# Signatures of one name: the compiler tries them one by one.
OVERLOADS = 12
# Keywords that are written in place; more of them become an interface, so that several signatures share it.
INLINE_KEYWORDS = 2
# Alternatives of a union, and how deep containers nest, before it is "anything".
UNION_MEMBERS = 24
NESTING = 4
# How deep submodules of a module that was asked for are read: torch.nn is one deep. Deeper ones are asked for by name.
SUBMODULE_DEPTH = 1
# Between two reports of how far the reading is.
PROGRESS_SECONDS = 0.2
