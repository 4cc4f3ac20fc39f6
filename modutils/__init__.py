"""Find modules in trained neural networks, and test whether they are real.

The files are named after the steps that the papers of the book share: describe every unit, group the units into
modules, test the modules, and give a verdict per claim. Import them by name::

    from modutils import attribution, coclustering, lesions

Everywhere in the library, labels are integer arrays in which -1 means unassigned, and a random choice takes ``seed``.
"""

__version__ = "0.1.0"
