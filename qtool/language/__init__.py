"""What people read, in their language: texts that remember how they were made, and catalogues.

English stands in the code; ``zh/`` has the Chinese, one file for a part of the program.
"""
